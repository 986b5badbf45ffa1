"""Paired tests between two runs, from the sufficient statistics of the same samples.

Both tests work on whole patients: a bootstrap resample draws patients with replacement (or weighs them, for a metric
that is ``smooth``), an approximate randomisation swaps all samples of a patient between the runs or none. Resamples are
drawn once and shared by all metrics, and a corpus metric of a resample is one row of a matrix product, so nothing is
scored anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.metrics.significance import bootstrap_p, randomisation_p

_CELLS = 1 << 20
"""Numbers of a resampling table held at a time; bounds memory to a few times 8 MB."""


@dataclass(frozen=True)
class Pair:
    """One metric of two runs.

    Attributes:
        metric: The metric.
        a: [n, k] sufficient statistics of the first run.
        b: [n, k] of the second, the same samples in the same order.
    """

    metric: Metric[Any]
    a: Floats
    b: Floats


@dataclass(frozen=True)
class PairedResult:
    """What the resamples say about one metric; differences are b minus a.

    Attributes:
        a: The metric of the first run.
        b: Of the second.
        ci95: 95 % percentile interval of the difference, or None where it cannot be had.
        p_bootstrap: Two-sided p of the paired bootstrap, or None likewise.
        p_randomisation: Two-sided p of approximate randomisation, or None likewise.
        n_undefined: Bootstrap resamples in which either side is undefined; they are left out.
    """

    a: float
    b: float
    ci95: tuple[float, float] | None
    p_bootstrap: float | None
    p_randomisation: float | None
    n_undefined: int


def paired_tests(pairs: Sequence[Pair], clusters: Sequence[str], *, resamples: int, seed: int) -> list[PairedResult]:
    """Test all metrics of an evaluation over shared resamples.

    Args:
        pairs: The metrics of both runs.
        clusters: The patient of each sample.
        resamples: Resamples of either test.
        seed: Seed of both tests; the draws depend on it and on the number of patients alone.

    Returns:
        One result a metric. Interval and p are None with fewer than two patients, no resamples, or an undefined value.

    Raises:
        ValueError: If the statistics of a metric differ in shape, or do not fit the clusters.
    """
    for pair in pairs:
        if pair.a.shape != pair.b.shape or len(pair.a) != len(clusters):
            shapes = f"{pair.a.shape} and {pair.b.shape}"
            raise ValueError(f"{pair.metric.name}: statistics {shapes} for {len(clusters)} samples")
    found: dict[int, PairedResult] = {}
    for smooth in (False, True):
        places = [place for place, pair in enumerate(pairs) if pair.metric.smooth is smooth]
        chosen = [pairs[place] for place in places]
        results = _tested(chosen, clusters, resamples=resamples, seed=seed, smooth=smooth) if chosen else []
        found |= dict(zip(places, results, strict=True))
    return [found[place] for place in range(len(pairs))]


def _tested(
    pairs: Sequence[Pair], clusters: Sequence[str], *, resamples: int, seed: int, smooth: bool
) -> list[PairedResult]:
    """Test metrics whose bootstrap resamples in the same way."""
    table = _Table(pairs, clusters)
    whole = [(float(p.metric.value(p.a.sum(0))), float(p.metric.value(p.b.sum(0)))) for p in pairs]
    if table.n_clusters < 2 or resamples < 1:
        return [PairedResult(a, b, None, None, None, 0) for a, b in whole]
    draw = _weights if smooth else _draws
    drawn = np.concatenate([table.differences(counts @ table.sums) for counts in draw(table, resamples, seed)])
    swapped = np.concatenate([table.differences(table.swap(swaps)) for swaps in _swaps(table, resamples, seed)])
    return [_result(a, b, drawn[:, column], swapped[:, column]) for column, (a, b) in enumerate(whole)]


class _Table:
    """The distinct statistics of all metrics side by side, summed over each patient.

    Metrics of a family share their statistics, so each distinct pair of arrays stands here once, and columns that are
    zero in all samples (most of Rad-ReStruct's) are left out of the products.
    """

    def __init__(self, pairs: Sequence[Pair], clusters: Sequence[str]) -> None:
        names, member = np.unique(np.asarray(clusters), return_inverse=True)
        self.n_clusters = len(names)
        self._groups: list[_Group] = []
        known: dict[bytes, list[tuple[Pair, _Group]]] = {}
        blocks: list[Floats] = []
        start = 0
        for place, pair in enumerate(pairs):
            alike = known.setdefault(_sketch(pair), [])
            group = next((group for other, group in alike if _is_equal(pair, other)), None)
            if group is None:
                active = np.flatnonzero(pair.a.any(0) | pair.b.any(0))
                group = _Group([], active, pair.a.shape[1], start)
                alike.append((pair, group))
                self._groups.append(group)
                blocks += [_by_cluster(side[:, active], member, len(names)) for side in (pair.a, pair.b)]
                start += 2 * len(active)
            group.metrics.append((place, pair.metric))
        self.n_metrics = len(pairs)
        self.sums: Floats = np.concatenate(blocks, axis=1)
        a, b = ([self.sums[:, group.columns(side)] for group in self._groups] for side in range(2))
        gap: Floats = np.concatenate(b, axis=1) - np.concatenate(a, axis=1)
        self._changed = np.flatnonzero(gap.any(0))
        self._gap: Floats = gap[:, self._changed]

    def swap(self, swaps: Floats) -> Floats:
        """Return the summed statistics [r, width] after swapping the patients marked in [r, clusters]."""
        moved = np.zeros((len(swaps), self.sums.shape[1] // 2))
        moved[:, self._changed] = swaps @ self._gap
        swapped = np.tile(self.sums.sum(0), (len(swaps), 1))
        start = 0
        for group in self._groups:
            part = moved[:, start : start + len(group.active)]
            swapped[:, group.columns(0)] += part
            swapped[:, group.columns(1)] -= part
            start += len(group.active)
        return swapped

    def differences(self, sums: Floats) -> Floats:
        """Return b minus a, [r, metrics], of summed statistics [r, width]."""
        return np.stack([b - a for a, b in self.values(sums)], axis=-1)

    def values(self, sums: Floats) -> list[tuple[Floats, Floats]]:
        """Return each metric of both runs, [...], from summed statistics [..., width]."""
        found: list[tuple[Floats, Floats]] = [(np.zeros(0), np.zeros(0))] * self.n_metrics
        for group in self._groups:
            a, b = group.sides(sums)
            for place, metric in group.metrics:
                found[place] = (metric.value(a), metric.value(b))
        return found


@dataclass(frozen=True)
class _Group:
    """Metrics with the same statistics, the columns in use, and where they stand in the table."""

    metrics: list[tuple[int, Metric[Any]]]
    active: np.ndarray[Any, np.dtype[np.intp]]
    width: int
    start: int

    def sides(self, sums: Floats) -> tuple[Floats, Floats]:
        spans = [sums[..., self.columns(side)] for side in range(2)]
        if len(self.active) == self.width:
            return spans[0], spans[1]
        full = []
        for span in spans:
            whole = np.zeros((*sums.shape[:-1], self.width))
            whole[..., self.active] = span
            full.append(whole)
        return full[0], full[1]

    def columns(self, side: int) -> slice:
        """Return where the statistics of a run stand in the table."""
        size = len(self.active)
        return slice(self.start + side * size, self.start + (side + 1) * size)


def _result(a: float, b: float, drawn: Floats, swapped: Floats) -> PairedResult:
    defined = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(defined)
    if np.isnan(b - a) or not len(defined):
        return PairedResult(a, b, None, None, None, undefined)
    low, high = np.percentile(defined, (2.5, 97.5))
    return PairedResult(
        a, b, (float(low), float(high)), bootstrap_p(b - a, defined), randomisation_p(b - a, swapped), undefined
    )


def _sketch(pair: Pair) -> bytes:
    """Return what equal statistics share and others hardly ever: a random mix of the columns."""
    weights = np.random.default_rng(0).random(pair.a.shape[1])
    return (pair.a @ weights).tobytes() + (pair.b @ weights).tobytes()


def _is_equal(one: Pair, two: Pair) -> bool:
    same = np.array_equal
    return same(one.a, two.a, equal_nan=True) and same(one.b, two.b, equal_nan=True)


def _by_cluster(statistics: Floats, member: np.ndarray[Any, np.dtype[np.intp]], n_clusters: int) -> Floats:
    sums = np.zeros((n_clusters, statistics.shape[1]))
    np.add.at(sums, member, statistics)
    return sums


def _rows(table: _Table, resamples: int) -> Iterator[int]:
    size = max(1, _CELLS // max(table.n_clusters, table.sums.shape[1], 1))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _draws(table: _Table, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each patient is drawn, [r, clusters]."""
    generator = np.random.default_rng((seed, 0))
    n = table.n_clusters
    for rows in _rows(table, resamples):
        drawn = generator.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _weights(table: _Table, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how much each patient weighs, [r, clusters]: a flat Dirichlet distribution (Rubin, 1981)."""
    generator = np.random.default_rng((seed, 2))
    for rows in _rows(table, resamples):
        weights = generator.exponential(size=(rows, table.n_clusters))
        yield weights * (table.n_clusters / weights.sum(axis=1, keepdims=True))


def _swaps(table: _Table, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield whether each patient is swapped, [r, clusters]."""
    generator = np.random.default_rng((seed, 1))
    for rows in _rows(table, resamples):
        yield (generator.random((rows, table.n_clusters), dtype=np.float32) < 0.5).astype(np.float64)
