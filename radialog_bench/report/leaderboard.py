"""The leaderboard as a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from radialog_bench.leaderboard.board import Board, run_names
from radialog_bench.leaderboard.text import cell_text
from radialog_bench.reference import Column
from radialog_bench.report.headlines import headline_of
from radialog_bench.report.site import in_order, title, write_page


def write_leaderboard(board: Board, path: Path) -> Path:
    """Write a leaderboard as a self-contained page.

    Args:
        board: The leaderboard.
        path: The page's file.

    Returns:
        ``path``.

    Raises:
        UsageError: If the page cannot be written.
    """
    runs = [
        {
            "name": name,
            "entry": entry,
            "outside": board.outside.get(name),
            "parts": [
                {"title": title(name), "part": part, "headline": headline_of(part.headline, part.metrics)}
                for name, part in ((name, entry.evaluations[name]) for name in in_order(entry.evaluations))
            ],
        }
        for name, entry in zip(run_names(board.runs), board.runs, strict=True)
    ]
    return write_page(path, "leaderboard.html.jinja", board=board, runs=runs, cell_text=cell_text, groups=_groups)


def _groups(columns: Sequence[Column]) -> list[dict[str, str | int]]:
    found = ((label or "", len(list(members))) for label, members in groupby(columns, key=lambda column: column.group))
    return [{"label": label, "width": width} for label, width in found]
