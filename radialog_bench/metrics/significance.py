"""From resamples and counts to p-values, two-sided throughout.

Sources: Koehn (2004) for the paired bootstrap of a corpus metric, its null distribution centred as in sacreBLEU;
Riezler and Maxwell (2005) for approximate randomisation; McNemar (1947); Holm (1979); Phipson and Smyth (2010) for
p = (c + 1) / (N + 1), which is never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, erfc, sqrt

import numpy as np

from radialog_bench.metrics.base import Floats

_TIE = 1e-12
"""Differences closer than this are equal: the unswapped assignment must count as being as extreme as itself."""
EXACT_BELOW = 25
"""Discordant samples below which McNemar's test is the exact binomial one."""


def bootstrap_p(difference: float, drawn: Floats) -> float:
    """Return the two-sided p of a paired bootstrap.

    Under the null the difference spreads around zero as the resampled one spreads around its mean:
    c counts the resamples with abs(d* - mean(d*)) >= abs(d), and p = (c + 1) / (N + 1).

    Args:
        difference: The observed difference d.
        drawn: [N] resampled differences d*.
    """
    extreme = np.abs(drawn - drawn.mean()) >= abs(difference) - _TIE
    return float((extreme.sum() + 1) / (len(drawn) + 1))


def randomisation_p(difference: float, swapped: Floats) -> float:
    """Return the two-sided p of approximate randomisation: c counts abs(d*) >= abs(d), p = (c + 1) / (N + 1).

    Args:
        difference: The observed difference d.
        swapped: [N] differences d* after random swaps; an undefined one counts as extreme.
    """
    extreme = ~(np.abs(swapped) < abs(difference) - _TIE)
    return float((extreme.sum() + 1) / (len(swapped) + 1))


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the two-sided p of McNemar's test on samples that are right or wrong.

    Exact binomial below ``EXACT_BELOW`` discordant samples, else chi-square with continuity correction and one degree
    of freedom. It takes samples as independent and knows nothing of patients.

    Args:
        only_a: Samples that only the first run has right.
        only_b: Samples that only the second has right.
    """
    discordant = only_a + only_b
    if discordant < EXACT_BELOW:
        tail = sum(comb(discordant, k) for k in range(min(only_a, only_b) + 1))
        return float(min(1, 2 * tail / 2**discordant))
    statistic = max(0, abs(only_a - only_b) - 1) ** 2 / discordant
    return float(erfc(sqrt(statistic / 2)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values after Holm's step-down correction, in the given order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
