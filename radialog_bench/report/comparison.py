"""A comparison of two runs as a page: differences, tests, and the samples that differ most, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from radialog_bench.comparison import (
    TESTS,
    Comparison,
    EvaluationComparison,
    MetricComparison,
    SampleDifference,
    TestName,
)
from radialog_bench.report.differences import FindingsDifference, Piece, compare_findings
from radialog_bench.report.folder import RunFolder, open_run
from radialog_bench.report.page import variants_of, without_variants
from radialog_bench.report.pictures import Picture, Pictures
from radialog_bench.report.samples import PER_SAMPLE, answer_pieces, cut
from radialog_bench.report.site import finite, in_order, short_id, title, write_page
from radialog_bench.results import SampleRecord
from radialog_instruct.records import Terms

SHOWN = 6
"""Samples shown of the largest gains, and as many of the largest drops."""
LEVEL = 0.05
"""A difference is coloured when every test finds it below this level after Holm's correction."""


@dataclass(frozen=True)
class _Side:
    answer: list[Piece]
    error: str | None
    parsed: str | None
    findings: FindingsDifference | None


@dataclass(frozen=True)
class _Pair:
    name: str
    study: str
    difference: SampleDifference
    picture: Picture | None
    reference: list[Piece]
    a: _Side | None
    b: _Side | None


@dataclass(frozen=True)
class _Part:
    name: str
    title: str
    result: EvaluationComparison
    headline: str | None
    metrics: dict[str, MetricComparison]
    variants: dict[str, dict[str, MetricComparison]]
    tests: tuple[TestName, ...]
    reach: float
    unavailable: dict[str, list[str]]
    by: str | None
    gains: tuple[_Pair, ...]
    drops: tuple[_Pair, ...]


def write_comparison(comparison: Comparison, path: Path, a: Path, b: Path, *, include_text: bool = False) -> Path:
    """Write a comparison as a self-contained page.

    Args:
        comparison: The comparison.
        path: The page's file.
        a: Run folder of A, for its samples.
        b: Run folder of B.
        include_text: Show texts, labels and images of a credentialed source; those of other sources are always shown.

    Returns:
        ``path``.

    Raises:
        DataError: If a folder holds no finished run.
        UsageError: If the page cannot be written.
    """
    credentialed = Terms.CREDENTIALED in (comparison.a.terms, comparison.b.terms)
    private = credentialed and not include_text
    runs, pictures = (open_run(a), open_run(b)), Pictures()
    parts = [
        _part(name, comparison.evaluations[name], runs, pictures, private) for name in in_order(comparison.evaluations)
    ]
    return write_page(
        path,
        "comparison.html.jinja",
        comparison=comparison,
        parts=parts,
        pictures=pictures.shown(),
        private=private,
        verdict=verdict,
        level=LEVEL,
    )


def verdict(metric: MetricComparison) -> str:
    """Tell whether B is ``better`` or ``worse`` by every test after Holm's correction, or whether it is ``open``."""
    if metric.difference is None or not metric.p_holm or any(p >= LEVEL for p in metric.p_holm.values()):
        return "open"
    return "better" if (metric.difference > 0) == metric.higher_is_better else "worse"


def _part(
    name: str, result: EvaluationComparison, runs: tuple[RunFolder, RunFolder], pictures: Pictures, private: bool
) -> _Part:
    compared = {key: metric for key, metric in result.metrics.items() if metric.difference is not None}
    wanted = runs[1].results.evaluations[name].headline if name in runs[1].results.evaluations else ""
    first = wanted if wanted in compared else next(iter(compared), None)
    ordered = dict(sorted(compared.items(), key=lambda item: item[0] != first))
    by = _order(compared)
    samples = compared[by].per_sample if by else None
    chosen = (samples.gains[:SHOWN], samples.drops[:SHOWN]) if samples else ((), ())
    records = _records(runs, name, {each.id for side in chosen for each in side}) if not private else ({}, {})
    gains, drops = (tuple(_pair(each, name, records, pictures, private) for each in side) for side in chosen)
    return _Part(
        name=name,
        title=title(name),
        result=result,
        headline=first,
        metrics=without_variants(ordered),
        variants=variants_of(ordered),
        tests=tuple(test for test in TESTS if any(test in metric.p for metric in compared.values())),
        reach=max(_ends(compared.values()), default=0.0),
        unavailable=_unavailable(result),
        by=by,
        gains=gains,
        drops=drops,
    )


def _order(metrics: Mapping[str, MetricComparison]) -> str | None:
    with_samples = [name for name, metric in metrics.items() if metric.per_sample]
    return next((name for name in (*PER_SAMPLE, *with_samples) if name in with_samples), None)


def _ends(metrics: Iterable[MetricComparison]) -> Iterator[float]:
    for metric in metrics:
        yield from (abs(end) for end in (metric.difference, *(metric.ci95 or ())) if end is not None and finite(end))


def _unavailable(result: EvaluationComparison) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, metric in result.metrics.items():
        if metric.unavailable is not None:
            reasons.setdefault(metric.unavailable, []).append(name)
    return reasons


def _records(
    runs: tuple[RunFolder, RunFolder], evaluation: str, wanted: set[str]
) -> tuple[dict[str, SampleRecord], dict[str, SampleRecord]]:
    first, second = (
        {record.id: record for record in run.samples(evaluation) if record.id in wanted} if wanted else {}
        for run in runs
    )
    return first, second


def _pair(
    difference: SampleDifference,
    evaluation: str,
    records: tuple[dict[str, SampleRecord], dict[str, SampleRecord]],
    pictures: Pictures,
    private: bool,
) -> _Pair:
    a, b = (side.get(difference.id) for side in records)
    name = short_id(evaluation, difference.id)
    record = a or b
    if private or record is None:
        return _Pair(name, "", difference, None, [], None, None)
    return _Pair(
        name=name,
        study=record.study_id,
        difference=difference,
        picture=pictures.add(record.images),
        reference=[Piece(cut(record.reference))],
        a=_side(a),
        b=_side(b),
    )


def _side(record: SampleRecord | None) -> _Side | None:
    if record is None:
        return None
    findings = compare_findings(record.parsed, record.reference_parsed)
    pieces = answer_pieces(record.prediction or "", findings)
    return _Side(pieces, record.error, record.parsed, findings)
