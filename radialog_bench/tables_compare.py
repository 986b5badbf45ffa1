"""What ``compare`` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from radialog_bench.comparison import Comparison, EvaluationComparison, MetricComparison, TestName

WIDE = 180
"""Columns of output that goes to a file or a pipe, so that no number is wrapped."""


def print_comparison(comparison: Comparison) -> None:
    """Print both runs, a table for each evaluation, and what a reader of the numbers must know."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)
    a, b = comparison.a, comparison.b
    console.print(f"A: {a.model.name} ({a.folder}) on {a.source}, split {a.split}", soft_wrap=True, markup=False)
    console.print(f"B: {b.model.name} ({b.folder}) on {b.source}, split {b.split}", soft_wrap=True, markup=False)
    for difference in comparison.differences:
        console.print(f"  forced although they differ in {difference}", soft_wrap=True, markup=False)
    for part in comparison.evaluations.values():
        console.print(_title(part), soft_wrap=True)
        console.print(_table(part, comparison.tests))
        _print_unavailable(console, part)
    for name, side in comparison.left_out.items():
        console.print(f"  not compared: {name}, {side}", soft_wrap=True, markup=False)
    for remark in comparison.remarks:
        console.print(f"  {remark}", soft_wrap=True, markup=False)
    console.print(_legend(comparison), soft_wrap=True)


def _title(part: EvaluationComparison) -> str:
    errors = f"errors {part.n_error_a} in A, {part.n_error_b} in B"
    return f"{part.evaluation}: n = {part.n:,} samples of {part.n_clusters:,} patients in both; {errors}"


def _table(part: EvaluationComparison, tests: tuple[TestName, ...]) -> Table:
    table = Table("metric", "A", "B", "B - A", "95 % interval", *(f"p {test}" for test in tests), "B better/worse/same")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in part.metrics.items():
        if row.difference is not None and not name.endswith("_uncertain_positive"):
            table.add_row(
                name,
                f"{row.a:.4f}",
                f"{row.b:.4f}",
                f"{row.difference:+.4f}",
                "" if row.ci95 is None else f"{row.ci95[0]:+.4f} to {row.ci95[1]:+.4f}",
                *(_p(row, test) for test in tests),
                _samples(row),
            )
    return table


def _p(row: MetricComparison, test: TestName) -> str:
    return f"{_probability(row.p[test])} ({_probability(row.p_holm[test])})" if test in row.p else ""


def _probability(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"  # a p is never 0


def _samples(row: MetricComparison) -> str:
    found = row.per_sample
    return "" if found is None else f"{found.wins}/{found.losses}/{found.ties}"


def _print_unavailable(console: Console, part: EvaluationComparison) -> None:
    reasons: dict[str, list[str]] = {}
    for name, row in part.metrics.items():
        if row.unavailable is not None:
            reasons.setdefault(row.unavailable, []).append(name)
    for reason, names in reasons.items():
        console.print(f"  not compared: {', '.join(names)}: {reason}", soft_wrap=True, markup=False)


def _legend(comparison: Comparison) -> str:
    counts = ", ".join(f"{n} for {test}" for test, n in comparison.n_hypotheses.items())
    return (
        f"p: two-sided, from {comparison.resamples:,} resamples of whole patients; in brackets after Holm's correction "
        f"over all metrics compared ({counts})"
    )
