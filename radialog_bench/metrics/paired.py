"""Paired tests between two runs, from the sufficient statistics of the same samples.

Both tests work on whole patients: a bootstrap resample draws patients with replacement (or weighs them, for a metric
that is ``smooth``), an approximate randomisation swaps all samples of a patient between the runs or none. Resamples are
drawn once and shared by all metrics, and a corpus metric of a resample is one row of a matrix product, so nothing is
scored anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialog_bench.metrics.base import Floats, Metric, OneOf
from radialog_bench.metrics.significance import bootstrap_p, randomisation_p

Places = NDArray[np.intp]

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
    whole = [(float(p.metric.value(p.a.sum(0))), float(p.metric.value(p.b.sum(0)))) for p in pairs]
    if len(set(clusters)) < 2 or resamples < 1:
        return [PairedResult(a, b, None, None, None, 0) for a, b in whole]
    table = _Table(pairs, clusters)
    draw = _weights if smooth else _draws
    drawn = np.concatenate([table.drawn(counts) for counts in draw(table, resamples, seed)])
    swapped = np.concatenate([table.swapped(swaps) for swaps in _swaps(table, resamples, seed)])
    return [_result(a, b, drawn[:, column], swapped[:, column]) for column, (a, b) in enumerate(whole)]


class _Table:
    """The statistics of all metrics summed over each patient, every distinct column once.

    Metrics of a family have the same statistics, both runs share what depends on the references alone, and many of
    Rad-ReStruct's thousands of columns are alike, so a resample is a product with far fewer columns than there are.
    """

    def __init__(self, pairs: Sequence[Pair], clusters: Sequence[str]) -> None:
        names, member = np.unique(np.asarray(clusters), return_inverse=True)
        self.n_clusters, self.n_metrics = len(names), len(pairs)
        groups: dict[bytes, _Group] = {}
        columns: dict[bytes, int] = {}
        for place, pair in enumerate(pairs):
            statistics = pair.a.tobytes() + pair.b.tobytes()
            if statistics not in groups:
                a, b = (_places(_by_cluster(side, member, len(names)), columns) for side in (pair.a, pair.b))
                groups[statistics] = _Group(a, b)
            groups[statistics].metrics[place] = pair.metric
        self._groups = list(groups.values())
        self._columns: Floats = np.stack([np.frombuffer(column) for column in columns], axis=1)
        self._totals: Floats = self._columns.sum(0)
        self._gaps = self._tell_gaps()
        self.width = max(len(columns), *(len(group.a) for group in self._groups))

    def drawn(self, counts: Floats) -> Floats:
        """Return b minus a, [r, metrics], with patients counted as often as [r, clusters] says."""
        sums = counts @ self._columns
        return self._differences(lambda group: (sums.take(group.a, axis=1), sums.take(group.b, axis=1)))

    def swapped(self, swaps: Floats) -> Floats:
        """Return b minus a, [r, metrics], with the patients marked in [r, clusters] swapped between the runs."""
        moved = swaps @ self._gaps

        def sides(group: _Group) -> tuple[Floats, Floats]:
            gap = moved.take(group.gap, axis=1)
            return self._totals[group.a] + gap, self._totals[group.b] - gap

        return self._differences(sides)

    def _tell_gaps(self) -> Floats:
        """Return the distinct differences between the runs' columns, and tell each group where its own are."""
        columns = np.concatenate([np.stack((group.a, group.b), axis=1) for group in self._groups])
        columns[columns[:, 0] == columns[:, 1]] = 0
        distinct, places = np.unique(columns, axis=0, return_inverse=True)
        starts = np.cumsum([len(group.a) for group in self._groups])
        for group, own in zip(self._groups, np.split(places.ravel(), starts[:-1]), strict=True):
            group.gap = own
        gaps: Floats = self._columns[:, distinct[:, 1]] - self._columns[:, distinct[:, 0]]
        return gaps

    def _differences(self, sides: Callable[[_Group], tuple[Floats, Floats]]) -> Floats:
        found: dict[int, Floats] = {}
        for group in self._groups:
            a, b = map(group.scores, sides(group))
            found |= {place: b[place] - a[place] for place in group.metrics}
        return np.stack([found[place] for place in range(self.n_metrics)], axis=-1)


@dataclass
class _Group:
    """Metrics with the same statistics, by their place among all metrics.

    Attributes:
        a: [k] where the statistics of the first run stand in the table.
        b: [k] of the second.
        gap: [k] where their difference stands among the gaps.
        metrics: The metrics.
    """

    a: Places
    b: Places
    gap: Places = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    metrics: dict[int, Metric[Any]] = field(default_factory=dict)

    def scores(self, sums: Floats) -> dict[int, Floats]:
        """Return each metric, [r], of summed statistics [r, k]."""
        families: dict[Callable[[Floats], Floats], Floats] = {}
        found = {}
        for place, metric in self.metrics.items():
            value = metric.value
            if isinstance(value, OneOf):
                if value.scores not in families:
                    families[value.scores] = value.scores(sums)
                found[place] = families[value.scores][..., value.place]
            else:
                found[place] = value(sums)
        return found


def _result(a: float, b: float, drawn: Floats, swapped: Floats) -> PairedResult:
    defined = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(defined)
    if np.isnan(b - a) or not len(defined):
        return PairedResult(a, b, None, None, None, undefined)
    low, high = np.percentile(defined, (2.5, 97.5))
    return PairedResult(
        a, b, (float(low), float(high)), bootstrap_p(b - a, defined), randomisation_p(b - a, swapped), undefined
    )


def _by_cluster(statistics: Floats, member: Places, n_clusters: int) -> Floats:
    sums = np.zeros((n_clusters, statistics.shape[1]))
    np.add.at(sums, member, statistics)
    return sums


def _places(sums: Floats, columns: dict[bytes, int]) -> Places:
    """Return where each column of [clusters, k] stands among the distinct ones, after adding those that are new."""
    return np.array([columns.setdefault(column.tobytes(), len(columns)) for column in sums.T], dtype=np.intp)


def _rows(table: _Table, resamples: int) -> Iterator[int]:
    size = max(1, _CELLS // max(table.n_clusters, table.width))
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
