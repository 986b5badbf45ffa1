"""A corpus metric as per-sample sufficient statistics and a function of their sum.

Every metric of the bench has this form: BLEU sums n-gram matches, F1 sums true and false positives, a mean sums values.
A bootstrap resample is then one matrix product, and ten thousand of them take milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from radialog_instruct.errors import RadialogError

Floats = NDArray[np.float64]
Item = TypeVar("Item", contravariant=True)


class MetricError(RadialogError):
    """A metric that could not be computed; its result is null with this reason, and the run goes on."""


@dataclass(frozen=True)
class Metric(Generic[Item]):
    """A corpus metric over paired predictions and references.

    Attributes:
        name: Key in ``results.json``, for example ``"bleu4"``.
        signature: Everything that changes the number: protocol, tokeniser, labeler, version; ``compare`` refuses to
            mix signatures.
        statistics: Maps n predictions and n references to an [n, k] array of sufficient statistics; raises
            ``MetricError`` where it cannot.
        value: Maps summed statistics [..., k] to scores [...], vectorised over the leading axes.
        higher_is_better: Direction of the metric.
        per_sample: Whether ``value`` of one sample's statistics is meaningful on the sample's own.
        smooth: Whether intervals weigh the patients instead of drawing them, because a resample without the patients
            of a rare class would be another metric.
        right_or_wrong: Whether a sample's own score is 1 or 0, so that McNemar's test fits.
    """

    name: str
    signature: str
    statistics: Callable[[Sequence[Item], Sequence[Item]], Floats]
    value: Callable[[Floats], Floats]
    higher_is_better: bool = True
    per_sample: bool = True
    smooth: bool = False
    right_or_wrong: bool = False


@dataclass(frozen=True)
class OneOf:
    """The ``value`` of a metric whose family is computed together; resampling computes the family once.

    Attributes:
        scores: Maps summed statistics [..., k] to all scores of the family [..., m].
        place: Which of them.
    """

    scores: Callable[[Floats], Floats]
    place: int

    def __call__(self, sums: Floats) -> Floats:
        """Return the score, [...]."""
        one: Floats = self.scores(sums)[..., self.place]
        return one
