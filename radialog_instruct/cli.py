"""``radialog-instruct``: build the instruct dataset and look at it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radialog_instruct.config import TASK_NAMES, BuildConfig, BuildPlaces, ImagePolicy
from radialog_instruct.errors import UsageError
from radialog_instruct.terminal import run_app

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Turn chest X-ray reports and images into the RaDialog-Instruct dataset.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Source = Annotated[str, typer.Option(help="Where the studies come from: demo or iu-xray.")]
Root = Annotated[
    Path | None, typer.Option(help="Folder of the source; the demo needs none and reads the full collection with one.")
]
Tasks = Annotated[str, typer.Option(help=f"Comma-separated tasks out of: {', '.join(TASK_NAMES)}.")]
Seed = Annotated[int, typer.Option(help="Seed of every choice.")]
Labeler = Annotated[str, typer.Option(help="Labels that supervise findings QA: rules, or public for the demo.")]
Templates = Annotated[Path | None, typer.Option(help="Folder of templates instead of the distribution's own.")]
ALL_TASKS = ",".join(TASK_NAMES)


@app.callback()
def _main() -> None:
    """Turn chest X-ray reports and images into the RaDialog-Instruct dataset."""


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; a rerun keeps what still holds.")],
    source: Source = "demo",
    root: Root = None,
    tasks: Tasks = ALL_TASKS,
    seed: Seed = 0,
    shards: Annotated[int, typer.Option(min=1, help="Shards of patients; the bytes depend on it.")] = 4,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")] = 1,
    images: Annotated[ImagePolicy, typer.Option(help="Rows without an image file: build or leave out.")] = (
        ImagePolicy.REFERENCE
    ),
    labeler: Labeler = "rules",
    yes_fraction: Annotated[float, typer.Option(help="Share of yes among binary questions.")] = 0.5,
    templates: Templates = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Build the dataset as Parquet shards with a manifest."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from radialog_instruct.build.engine import build_dataset
    from radialog_instruct.build.summary import print_summary

    if not 0 < yes_fraction < 1:
        raise UsageError(f"{yes_fraction} is not between 0 and 1", where="--yes-fraction", mend="0.5 is the default")
    config = BuildConfig(
        source=source,
        tasks=chosen_tasks(tasks),
        seed=seed,
        shards=shards,
        images=images,
        labeler=labeler,
        yes_fraction=yes_fraction,
    )
    places = BuildPlaces(root=root, out=out, templates=templates, workers=workers)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_stderr(), disable=not sys.stderr.isatty(), transient=True) as bar:
        shard_bar = bar.add_task("shards", total=shards)
        manifest = build_dataset(config, places, lambda done, total: bar.update(shard_bar, completed=done, total=total))
    print_summary(manifest, out, as_json=as_json)


@app.command()
def preview(
    source: Source = "demo",
    root: Root = None,
    tasks: Tasks = ALL_TASKS,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples a task.")] = 1,
    study: Annotated[str | None, typer.Option(help="Only this study id.")] = None,
    seed: Seed = 0,
    labeler: Labeler = "rules",
    templates: Templates = None,
) -> None:
    """Print a few samples as chats, without building anything."""
    from radialog_instruct.preview import print_preview

    print_preview(source, root, chosen_tasks(tasks), n, study, seed, labeler, templates)


def chosen_tasks(names: str) -> tuple[str, ...]:
    """Read a comma list of task names, in the project's order.

    Raises:
        UsageError: If a name is unknown or none is given.
    """
    from difflib import get_close_matches

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in TASK_NAMES:
            close = get_close_matches(name, TASK_NAMES, n=2) or TASK_NAMES
            raise UsageError(f"no task {name!r}", where="--tasks", mend=f"did you mean {' or '.join(close)}?")
    if not wanted:
        raise UsageError("no task given", where="--tasks", mend=f"choose from: {', '.join(TASK_NAMES)}")
    return tuple(name for name in TASK_NAMES if name in wanted)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(app, "radialog-instruct"))


if __name__ == "__main__":
    main()
