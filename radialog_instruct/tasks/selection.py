"""Which of all possible samples a build keeps: shares, quotas and balances, decided before any sample is written.

Every possible sample is a slot with a rank, a hash of what it is. Slots of one task, split and stratum form a pool; of
a pool that must be thinned the k smallest ranks stay. The choice therefore depends on ids and seed alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Pool = tuple[str, str, str]
"""Task, split and stratum."""
Ranks = NDArray[np.uint64]
ALL = 1 << 64
"""A limit above every rank."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The largest rank that is kept, by pool; a pool that is absent is kept whole."""

    limits: Mapping[Pool, int] = field(default_factory=dict)

    def keeps(self, pool: Pool, rank: int) -> bool:
        """Tell whether a slot is kept."""
        return rank <= self.limits.get(pool, ALL)


@dataclass
class Candidates:
    """All possible samples of some studies, as counts and ranks. Memory: eight bytes a ranked slot.

    Attributes:
        counts: Slots by pool.
        units: Images (or studies without one) that a task can use, by task and split.
        ranks: Ranks of the slots of pools that may be thinned.
        followers: Ranks of slots that are kept when another slot of the pool with the same rank is.
    """

    counts: Counter[Pool] = field(default_factory=Counter)
    units: Counter[tuple[str, str]] = field(default_factory=Counter)
    ranks: dict[Pool, Ranks] = field(default_factory=dict)
    followers: dict[Pool, Ranks] = field(default_factory=dict)

    @classmethod
    def merged(cls, parts: Iterable[Candidates]) -> Candidates:
        """Join the candidates of several shards."""
        whole, ranks, followers = cls(), dict[Pool, list[Ranks]](), dict[Pool, list[Ranks]]()
        for part in parts:
            whole.counts.update(part.counts)
            whole.units.update(part.units)
            for pool, values in part.ranks.items():
                ranks.setdefault(pool, []).append(values)
            for pool, values in part.followers.items():
                followers.setdefault(pool, []).append(values)
        whole.ranks = {pool: np.concatenate(values) for pool, values in ranks.items()}
        whole.followers = {pool: np.concatenate(values) for pool, values in followers.items()}
        return whole

    def limit(self, pool: Pool, keep: int) -> int:
        """Return the largest rank among the smallest ``keep`` of a pool; -1 keeps none."""
        ranks = self.ranks.get(pool)
        if keep <= 0 or ranks is None:
            return -1
        if keep >= len(ranks):
            return int(ranks.max())
        return int(np.partition(ranks, keep - 1)[keep - 1])


def balanced(n_yes: int, n_no: int, yes_fraction: float, quota: int | None = None) -> tuple[int, int]:
    """Return how many of each answer to keep so that ``yes_fraction`` of them are yes.

    The scarcer answer is kept whole and the other one thinned; a quota bounds the sum.

    Args:
        n_yes: Possible slots answered yes.
        n_no: Possible slots answered no.
        yes_fraction: Wanted share of yes, in (0, 1).
        quota: Largest number of slots kept, or None.
    """
    # Fractions: 0.3 / 0.7 in floating point would now and then lose one slot.
    share = Fraction(yes_fraction).limit_denominator(10_000)
    yes = min(n_yes, int(n_no * share / (1 - share)))
    if quota is not None:
        yes = min(yes, round(quota * share))
    return yes, min(n_no, round(yes * (1 - share) / share))


def water_fill(capacities: Mapping[str, int], total: int) -> dict[str, int]:
    """Share a total among strata as evenly as their capacities allow.

    Args:
        capacities: Largest number each stratum can take.
        total: What is shared; what no stratum can take is left over.

    Returns:
        The number for each stratum; it differs between unfilled strata by one at most.
    """
    shares: dict[str, int] = {}
    left = total
    by_capacity = sorted(capacities, key=lambda name: (capacities[name], name))
    for position, name in enumerate(by_capacity):
        shares[name] = min(capacities[name], left // (len(by_capacity) - position))
        left -= shares[name]
    return shares
