"""``radialog-bench leaderboard``: the paper's tables with runs beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radialog_instruct.errors import UsageError


def leaderboard(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, or leaderboard-entry.json files of runs made elsewhere.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the leaderboard as a page.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    write_entries: Annotated[
        bool, typer.Option("--write-entries", help="Write leaderboard-entry.json into each run folder.")
    ] = False,
) -> None:
    """Show the paper's tables with your runs beside them, and what differs in protocol."""
    from radialog_bench.leaderboard import build_board, read_entry, text, write_entry
    from radialog_bench.report.leaderboard import write_leaderboard

    if markdown and as_json:
        raise UsageError("--markdown and --json exclude each other", where="leaderboard", mend="give one of them")
    paths = runs or []
    if write_entries:
        for folder in (path for path in paths if path.is_dir()):
            typer.echo(f"radialog-bench: wrote {write_entry(folder)}", err=True)
    board = build_board([read_entry(path) for path in paths])
    if html is not None:
        typer.echo(f"radialog-bench: wrote {write_leaderboard(board, html)}", err=True)
    if as_json:
        print(board.model_dump_json(indent=2))
    elif markdown:
        print(text.markdown(board), end="")
    elif html is None:
        text.print_board(board)
