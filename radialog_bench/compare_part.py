"""Compares two runs on one evaluation: all metrics over the same samples and the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialog_bench.comparison import EvaluationComparison, MetricComparison, PerSample, SampleDifference, TestName
from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.metrics.paired import Pair, PairedResult, paired_tests
from radialog_bench.metrics.significance import mcnemar_p
from radialog_bench.results import EvaluationResult
from radialog_bench.stored import StoredStatistics

SHOWN_SAMPLES = 20
"""Samples kept a metric and direction."""
_TIE = 5e-4
"""Scores of a sample closer than this are the same: the smoothing constants of BLEU alone make such differences."""


@dataclass(frozen=True)
class CompareSettings:
    """How two runs are compared.

    Attributes:
        tests: The tests.
        resamples: Resamples of the bootstrap and of the randomisation.
        seed: Their seed.
        evaluations: Only these, or None for all that both runs have.
        metrics: Only these, or None for all.
        force: Compare what can be compared although the runs are not of one kind.
    """

    tests: tuple[TestName, ...]
    resamples: int = 10_000
    seed: int = 0
    evaluations: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    force: bool = False


@dataclass(frozen=True)
class Common:
    """The samples of an evaluation that both runs scored, ordered by id."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    a: Mapping[str, Floats]
    b: Mapping[str, Floats]
    n_a: int
    n_b: int

    @classmethod
    def of(cls, a: StoredStatistics, b: StoredStatistics) -> Common:
        """Take the samples that both runs have."""
        ids = tuple(sorted(set(a.ids) & set(b.ids)))
        first, second = ([dict(zip(s.ids, range(len(s.ids)), strict=True))[i] for i in ids] for s in (a, b))
        return cls(
            ids,
            tuple(a.clusters[place] for place in first),
            {name: array[first] for name, array in a.metrics.items()},
            {name: array[second] for name, array in b.metrics.items()},
            len(a.ids),
            len(b.ids),
        )


def compare_part(
    results: tuple[EvaluationResult, EvaluationResult],
    common: Common,
    settings: CompareSettings,
    metrics: Mapping[str, Metric[Any]],
) -> EvaluationComparison:
    """Compare all metrics of an evaluation over the same resamples; Holm's correction is yet to come.

    Args:
        results: The scores of both runs.
        common: The samples of both.
        settings: How to compare.
        metrics: The metrics by name.
    """
    left, right = results
    wanted = [m for m in left.metrics if m in right.metrics and (settings.metrics is None or m in settings.metrics)]
    reasons = {metric: _obstacle(metric, left, right, common, metrics) for metric in wanted}
    pairs = [Pair(metrics[m], common.a[m], common.b[m]) for m in wanted if reasons[m] is None]
    tested = paired_tests(pairs, common.clusters, resamples=settings.resamples, seed=settings.seed)
    outcomes = {pair.metric.name: (pair, result) for pair, result in zip(pairs, tested, strict=True)}
    n_clusters = len(set(common.clusters))
    rows = {}
    for metric in wanted:
        one, two = left.metrics[metric], right.metrics[metric]
        row = MetricComparison(
            metric=metric,
            signature=one.signature,
            signature_b=two.signature if two.signature != one.signature else None,
            higher_is_better=one.higher_is_better,
            a=one.value,
            b=two.value,
            difference=None,
            n=len(common.ids),
            n_clusters=n_clusters,
            unavailable=reasons[metric],
        )
        rows[metric] = _filled(row, *outcomes[metric], common.ids, settings.tests) if metric in outcomes else row
    return EvaluationComparison(
        evaluation=left.evaluation,
        version=left.version,
        version_b=right.version if right.version != left.version else None,
        n=len(common.ids),
        n_clusters=n_clusters,
        n_a=common.n_a,
        n_b=common.n_b,
        n_error_a=left.n_error,
        n_error_b=right.n_error,
        metrics=rows,
    )


def _obstacle(
    name: str, left: EvaluationResult, right: EvaluationResult, common: Common, metrics: Mapping[str, Metric[Any]]
) -> str | None:
    """Return why a metric cannot be compared, or None."""
    for side, result in (("A", left.metrics[name]), ("B", right.metrics[name])):
        if result.value is None:
            return f"no value in {side}: {result.unavailable or 'no reason given'}"
    if name not in metrics:
        return "this version does not know the metric"
    if name not in common.a or name not in common.b:
        return "no statistics were kept for it"
    if common.a[name].shape != common.b[name].shape:
        return "its statistics differ in kind"
    return None


def _filled(
    row: MetricComparison, pair: Pair, result: PairedResult, ids: Sequence[str], tests: Sequence[TestName]
) -> MetricComparison:
    """Add what the tests say to a row."""
    if np.isnan(result.b - result.a):
        return row.model_copy(update={"unavailable": "undefined on the common samples"})
    scores = sample_values(pair) if pair.metric.per_sample else None
    p: dict[TestName, float | None] = {"bootstrap": result.p_bootstrap, "randomisation": result.p_randomisation}
    if scores is not None and all(np.isin(side, (0, 1)).all() for side in scores):
        a, b = scores
        p["mcnemar"] = mcnemar_p(int((a > b).sum()), int((b > a).sum()))
    return row.model_copy(
        update={
            "a": result.a,
            "b": result.b,
            "difference": result.b - result.a,
            "ci95": result.ci95,
            "p": {test: p[test] for test in tests if p.get(test) is not None},
            "n_undefined": result.n_undefined,
            "per_sample": None if scores is None else per_sample(*scores, ids, pair.metric.higher_is_better),
        }
    )


def sample_values(pair: Pair) -> tuple[Floats, Floats]:
    """Return the metric of each sample on its own in both runs, [n] each; nan where it is undefined."""
    return pair.metric.value(pair.a), pair.metric.value(pair.b)


def per_sample(a: Floats, b: Floats, ids: Sequence[str], higher_is_better: bool) -> PerSample:
    """Return who is better on how many samples, and on which by most; equal gains are ordered by id.

    Args:
        a: [n] scores of the first run.
        b: [n] of the second.
        ids: Ids of the samples.
        higher_is_better: Direction of the metric.
    """
    gain = (b - a) if higher_is_better else (a - b)
    wins, losses = gain > _TIE, gain < -_TIE
    undefined = int(np.isnan(gain).sum())

    def largest(chosen: NDArray[np.bool_], sign: int) -> tuple[SampleDifference, ...]:
        places = sorted(map(int, np.flatnonzero(chosen)), key=lambda place: (-sign * gain[place], ids[place]))
        return tuple(SampleDifference(id=ids[i], a=float(a[i]), b=float(b[i])) for i in places[:SHOWN_SAMPLES])

    return PerSample(
        wins=int(wins.sum()),
        losses=int(losses.sum()),
        ties=len(gain) - int(wins.sum()) - int(losses.sum()) - undefined,
        undefined=undefined,
        gains=largest(wins, 1),
        drops=largest(losses, -1),
    )
