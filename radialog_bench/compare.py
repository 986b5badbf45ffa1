"""Compares two finished runs on the same samples, and refuses runs whose numbers do not mean the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from radialog_bench.comparable import differences
from radialog_bench.compare_part import Common, CompareSettings, compare_part
from radialog_bench.comparison import ComparedRun, Comparison, EvaluationComparison, TestName
from radialog_bench.evaluations import EVALUATION_NAMES
from radialog_bench.metrics.base import Metric
from radialog_bench.metrics.significance import holm
from radialog_bench.stored import StoredRun, StoredStatistics, load_statistics
from radialog_instruct.errors import DataError, UsageError

MetricsOf = Callable[[str, StoredRun], Mapping[str, Metric[Any]]]
"""Gives the metrics of an evaluation by name, as a run scored it."""


def compare_runs(a: StoredRun, b: StoredRun, settings: CompareSettings, metrics_of: MetricsOf) -> Comparison:
    """Compare two runs.

    Args:
        a: The baseline; differences are b minus a.
        b: The other run.
        settings: Tests, resamples and what to compare.
        metrics_of: Rebuilds the metrics of an evaluation.

    Raises:
        DataError: If the runs are not of one kind and the settings do not force the comparison, or have no sample in
            common.
        UsageError: If an evaluation or metric that was asked for is in neither run.
    """
    both = f"{a.folder} and {b.folder}"
    names = _evaluations(a, b, settings)
    loaded = {name: (load_statistics(a.folder, name), load_statistics(b.folder, name)) for name in names}
    statistics = {name: sides for name, sides in loaded.items() if all(side.ids for side in sides)}
    if not statistics:
        raise DataError("not one sample was scored in both", where=both, mend="compare runs that scored something")
    found = differences(a, b, statistics, settings.metrics)
    if found and not settings.force:
        mend = "compare runs of one kind, or what they have in common with --force"
        raise DataError(f"they differ in {'; '.join(found)}", where=both, mend=mend)
    parts = []
    for name in statistics:
        common = Common.of(*statistics[name])
        if not common.ids:
            raise DataError(f"no sample of {name} in common", where=both, mend="compare runs on the same data")
        parts.append(
            compare_part(
                (a.results.evaluations[name], b.results.evaluations[name]), common, settings, metrics_of(name, a)
            )
        )
    corrected = _with_holm(parts, settings.tests)
    return Comparison(
        a=_describe(a),
        b=_describe(b),
        tests=settings.tests,
        resamples=settings.resamples,
        seed=settings.seed,
        n_hypotheses={test: sum(test in m.p for p in parts for m in p.metrics.values()) for test in settings.tests},
        forced=bool(found),
        differences=tuple(found),
        left_out=_left_out(a, b) | _not_scored(loaded),
        remarks=tuple(_remarks(corrected)),
        evaluations={part.evaluation: part for part in corrected},
    )


def _with_holm(parts: Sequence[EvaluationComparison], tests: Sequence[TestName]) -> list[EvaluationComparison]:
    """Correct each test over all metrics of all evaluations."""
    places = [(number, name) for number, part in enumerate(parts) for name in part.metrics]
    corrected: dict[tuple[int, str], dict[TestName, float]] = {place: {} for place in places}
    for test in tests:
        tested = [(number, name) for number, name in places if test in parts[number].metrics[name].p]
        values = holm([parts[number].metrics[name].p[test] for number, name in tested])
        for place, value in zip(tested, values, strict=True):
            corrected[place][test] = value
    return [
        part.model_copy(
            update={
                "metrics": {
                    name: metric.model_copy(update={"p_holm": corrected[number, name]})
                    for name, metric in part.metrics.items()
                }
            }
        )
        for number, part in enumerate(parts)
    ]


def _evaluations(a: StoredRun, b: StoredRun, settings: CompareSettings) -> list[str]:
    """Return the evaluations to compare, in the bench's order.

    Raises:
        DataError: If the runs have none in common.
        UsageError: If one, or a metric, that was asked for is in neither run.
    """
    both = a.results.evaluations.keys() & b.results.evaluations.keys()
    common = sorted(both, key=lambda name: (*EVALUATION_NAMES, name).index(name))
    if not common:
        raise DataError(
            "no evaluation in common", where=f"{a.folder} and {b.folder}", mend="compare runs of the same evaluations"
        )
    _known("--evaluations", settings.evaluations, common)
    chosen = [name for name in common if settings.evaluations is None or name in settings.evaluations]
    metrics = {name: list(a.results.evaluations[name].metrics) for name in chosen}
    if settings.metrics is None:
        return chosen
    _known("--metrics", settings.metrics, [metric for names in metrics.values() for metric in names])
    return [name for name in chosen if not set(metrics[name]).isdisjoint(settings.metrics)]


def _known(flag: str, wanted: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in wanted or ():
        if name not in known:
            close = get_close_matches(name, known, n=1) or list(dict.fromkeys(known))[:3]
            raise UsageError(f"{name!r} is not in both runs", where=flag, mend=f"did you mean {' or '.join(close)}?")


def _left_out(a: StoredRun, b: StoredRun) -> dict[str, str]:
    """Return what only one run has."""
    found = {}
    for side, one, other in (("A", a, b), ("B", b, a)):
        for name, part in one.results.evaluations.items():
            if name not in other.results.evaluations:
                found[name] = f"only in {side}"
                continue
            rest = other.results.evaluations[name].metrics
            found |= {f"{name}/{metric}": f"only in {side}" for metric in part.metrics if metric not in rest}
    return found


def _not_scored(loaded: Mapping[str, tuple[StoredStatistics, StoredStatistics]]) -> dict[str, str]:
    """Return evaluations without a scored sample, for example for want of a labeler."""
    found = {}
    for name, sides in loaded.items():
        empty = [label for label, part in zip("AB", sides, strict=True) if not part.ids]
        if empty:
            found[name] = f"no sample was scored in {' and '.join(empty)}"
    return found


def _remarks(parts: Sequence[EvaluationComparison]) -> Iterator[str]:
    for part in parts:
        if part.n_clusters < part.n and any("mcnemar" in metric.p for metric in part.metrics.values()):
            yield (
                f"{part.evaluation}: McNemar's test takes samples as independent, but {part.n:,} samples come from "
                f"{part.n_clusters:,} patients; the other tests know patients"
            )


def _describe(run: StoredRun) -> ComparedRun:
    data, model = run.results.data, run.results.model
    return ComparedRun(
        folder=run.folder.resolve().name,
        model=model,
        source=data.source,
        split=data.split,
        terms=data.terms,
        manifest_sha256=data.manifest_sha256,
        versions=run.info.versions,
        started=run.info.started,
        notices=(*data.notices, *model.notices),
    )
