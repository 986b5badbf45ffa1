"""The progress bar of a replay: pass, samples walked, answers and tokens a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from radialog_instruct.build.engine import Progress
from radialog_instruct.replay.runner import ReplayProgress


@contextmanager
def shown_replay() -> Iterator[ReplayProgress]:
    """Yield a progress that is shown on a terminal, and silent elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:
        began = time.monotonic()

        def begin(name: str, total: int | None) -> None:
            for task in bars.task_ids:
                bars.update(task, visible=False)
            bars.add_task(name, total=total, note="")

        def advance(n: int) -> None:
            if bars.task_ids:
                bars.advance(bars.task_ids[-1], n)

        def answers(n: int, tokens: int) -> None:
            if bars.task_ids:
                rate = tokens / max(time.monotonic() - began, 1e-3)
                bars.update(bars.task_ids[-1], note=f"{n:,} answers, {rate:,.0f} tokens/s")

        yield ReplayProgress(
            Progress(begin, advance), lambda number, total: begin(f"pass {number}", total), advance, answers
        )
