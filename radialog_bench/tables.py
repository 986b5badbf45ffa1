"""What a run prints: its progress on stderr, its scores on stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from radialog_bench.results import EvaluationResult, MetricResult, RunResults


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """Show a bar for each evaluation on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def update(name: str, total: int, done: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield update


def print_results(results: RunResults, folder: Path) -> None:
    """Print a table for each evaluation, what was left out, and where the files are."""
    console = Console(highlight=False)
    for part in results.evaluations.values():
        console.print(_title(results, part), soft_wrap=True)
        console.print(_table(part))
        for reason, n in part.counts.items():
            console.print(f"  {n:,} x {reason}")
    console.print(f"results: {folder / 'results.json'}", soft_wrap=True)
    console.print(f"report:  {folder / 'report.html'}", soft_wrap=True)


def _title(results: RunResults, part: EvaluationResult) -> str:
    data = f"{results.data.source}, split {results.data.split}"
    counts = f"n = {part.n} of {part.n_studies} studies, scored {part.n_scored}, errors {part.n_error}"
    return f"{part.evaluation}: {results.model.name} on {data}; {counts}"


def _table(part: EvaluationResult) -> Table:
    table = Table("metric", "value", "95 % interval", "ceiling")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, metric in part.metrics.items():
        if not name.endswith("_uncertain_positive"):
            table.add_row(name, _number(metric.value), _interval(metric), _number(metric.ceiling))
    return table


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _interval(metric: MetricResult) -> str:
    return "" if metric.ci95 is None else f"{metric.ci95[0]:.4f} to {metric.ci95[1]:.4f}"
