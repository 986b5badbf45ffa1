"""The progress bar of a build: stage, studies read, rate and time left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from radialog_instruct.build.engine import Progress


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Yield a progress that is shown on a terminal, and silent elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.progress import Task as Bar
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Bar) -> Text:
            return Text(f"{task.speed:,.0f} studies/s" if task.speed else "", style="cyan")

    columns = (
        TextColumn("{task.description:5}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(""),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:

        def stage(name: str, total: int | None) -> None:
            for task in bars.task_ids:
                bars.update(task, visible=False)
            bars.add_task(name, total=total)

        def studies(n: int) -> None:
            if bars.task_ids:
                bars.advance(bars.task_ids[-1], n)

        yield Progress(stage, studies)
