"""``radialog-bench``: measure any vision-language model on chest X-rays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radialog_bench.commands import options
from radialog_bench.commands.compare import compare
from radialog_bench.commands.leaderboard import leaderboard
from radialog_bench.commands.run import run
from radialog_bench.commands.score import merge, score
from radialog_bench.commands.settings import chosen_evaluations, model_arguments, run_config
from radialog_instruct.errors import ExitCode, UsageError
from radialog_instruct.terminal import run_app

app = typer.Typer(
    help="Measure any vision-language model on chest X-ray dialogs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Measure any vision-language model on chest X-ray dialogs."""


app.command()(run)


@app.command("ls")
def list_things(
    what: Annotated[str, typer.Argument(help="models, evaluations, metrics or requests.")],
    data: options.Data = None,
    root: options.Root = None,
    reports: options.Reports = None,
    rad_restruct: options.RadRestruct = None,
    image_root: options.ImageRoot = None,
    split: options.Split = "test",
    evaluations: options.Evaluations = None,
    limit: options.Limit = None,
) -> None:
    """List models, evaluations, metrics, or the requests of a run as JSON lines (for answers made elsewhere)."""
    from radialog_bench.listing import evaluation_lines, metric_lines, model_lines, request_lines

    if what == "requests":
        names = chosen_evaluations(evaluations)
        config = run_config(
            model="constant",
            evaluations=names,
            data=data or "demo",
            root=root,
            reports=reports,
            rad_restruct=rad_restruct,
            image_root=image_root,
            split=split,
            limit=limit,
        )
        lines = request_lines(config)
    else:
        listers = {"models": model_lines, "evaluations": evaluation_lines, "metrics": metric_lines}
        if what not in listers:
            mend = f"choose from: {', '.join(listers)}, requests"
            raise UsageError(f"cannot list {what!r}", where="ls", mend=mend)
        lines = listers[what]()
    for line in lines:
        print(line)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    include_text: Annotated[bool, typer.Option("--include-text", help="Show texts of credentialed sources.")] = False,
) -> None:
    """Write the report page of a finished run again."""
    from radialog_bench.report import write_report

    print(write_report(folder, include_text=include_text))


@app.command()
def selfcheck(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model to check; without one, this installation is checked.")
    ] = None,
    model_args: options.ModelArgs = None,
) -> None:
    """Check that the bench scores as it should, or that a model keeps the adapters' contract."""
    from radialog_bench.selfcheck import check_installation, check_model

    found = check_model(model, model_arguments(model_args or [])) if model is not None else check_installation()
    print(found)
    if not found.passed:
        raise typer.Exit(int(ExitCode.MODEL if model is not None else ExitCode.FAILED_SAMPLES))


for command in (score, compare, merge, leaderboard):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    from radialog_bench.watchdog import leave

    leave(run_app(app, "radialog-bench"))


if __name__ == "__main__":
    main()
