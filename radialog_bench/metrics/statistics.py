"""Bootstrap intervals that respect patients: whole patients are drawn or weighed, not samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radialog_bench.metrics.base import Floats, Item, Metric
from radialog_bench.results import MetricResult

_CHUNK = 512
"""Resamples computed at a time; bounds memory to a few megabytes."""


def evaluate_metric(
    metric: Metric[Item],
    predictions: Sequence[Item],
    references: Sequence[Item],
    clusters: Sequence[str],
    *,
    best: Sequence[Item] | None = None,
    n_error: int = 0,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Floats, MetricResult]:
    """Compute a metric over a split, with its interval and its ceiling.

    Args:
        metric: The metric.
        predictions: One parsed answer a sample; a failed one is the worst answer, as the run's policy says.
        references: One reference a sample.
        clusters: The patient of each sample.
        best: What the references themselves would be read as; by default the references.
        n_error: How many of the samples failed.
        resamples: Bootstrap resamples; 0 gives no interval.
        seed: Seed of the bootstrap.

    Returns:
        The [n, k] sufficient statistics and the result.
    """
    if not len(predictions):
        return np.zeros((0, 0)), unavailable(metric, "no sample to score")
    statistics = metric.statistics(predictions, references)
    value = float(metric.value(statistics.sum(0)))
    ceiling = float(metric.value(metric.statistics(references if best is None else best, references).sum(0)))
    if not np.isfinite(value):
        return statistics, unavailable(metric, "undefined on these samples", n=len(predictions), n_error=n_error)
    return statistics, MetricResult(
        value=value,
        ci95=bootstrap_interval(metric, statistics, clusters, resamples=resamples, seed=seed),
        n=len(predictions),
        n_error=n_error,
        higher_is_better=metric.higher_is_better,
        signature=metric.signature,
        ceiling=None if np.isnan(ceiling) else ceiling,
    )


def unavailable(metric: Metric[Item], reason: str, *, n: int = 0, n_error: int = 0) -> MetricResult:
    """Return the result of a metric that could not be computed: null with its reason, never zero."""
    return MetricResult(
        value=None,
        ci95=None,
        n=n,
        n_error=n_error,
        higher_is_better=metric.higher_is_better,
        signature=metric.signature,
        unavailable=reason,
    )


def sample_scores(metric: Metric[Item], statistics: Floats) -> list[float | None]:
    """Return the metric of each sample on its own from its row of statistics; None where it has no meaning there."""
    if not metric.per_sample or not len(statistics):
        return [None] * len(statistics)
    values = metric.value(statistics)
    return [None if np.isnan(value) else float(value) for value in values]


def bootstrap_interval(
    metric: Metric[Item], statistics: Floats, clusters: Sequence[str], *, resamples: int, seed: int
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a corpus metric.

    Args:
        metric: The metric.
        statistics: [n, k] sufficient statistics.
        clusters: The patient of each sample.
        resamples: Number of resamples.
        seed: Seed of the generator.

    Returns:
        Lower and upper bound, or None with fewer than two patients, no resamples, or a metric undefined in all of them.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2 or resamples < 1:
        return None
    sums = np.zeros((len(names), statistics.shape[1]))
    np.add.at(sums, member, statistics)
    generator, used = np.random.default_rng(seed), np.flatnonzero(sums.any(0))
    values = []
    for start in range(0, resamples, _CHUNK):
        weights = _weights(generator, len(names), min(_CHUNK, resamples - start), smooth=metric.smooth)
        drawn = np.zeros((len(weights), sums.shape[1]))
        drawn[:, used] = weights @ sums[:, used]
        values.append(metric.value(drawn))
    scores = np.concatenate(values)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return None
    low, high = np.percentile(scores, (2.5, 97.5))
    return float(low), float(high)


def _weights(generator: np.random.Generator, clusters: int, resamples: int, *, smooth: bool) -> Floats:
    """Return how much each patient counts in each resample, [resamples, clusters].

    Drawn with replacement, or with weights from a flat Dirichlet distribution (the Bayesian bootstrap, Rubin 1981).
    """
    if smooth:
        weights: Floats = generator.exponential(size=(resamples, clusters))
        weights *= clusters / weights.sum(axis=1, keepdims=True)
        return weights
    even = np.full(clusters, 1 / clusters)
    return generator.multinomial(clusters, even, size=resamples).astype(np.float64)
