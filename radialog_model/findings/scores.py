"""How good predicted findings are: macro F1 over the 14 classes and what stands behind it.

Precision, recall and F1 follow scikit-learn with ``zero_division=0``: a class without support and without predictions
counts 0 in the macro average.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radialog_instruct.findings import FINDINGS, FIVE_FINDINGS


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class; ``auroc`` is None where positives or negatives are missing."""

    precision: float
    recall: float
    f1: float
    support: int
    predicted: int
    auroc: float | None


@dataclass(frozen=True)
class FindingsScores:
    """Scores of a set of images.

    Attributes:
        n: Images.
        macro_f1: Mean F1 of the 14 classes.
        macro_f1_supported: Mean F1 of the classes with positives.
        macro_f1_five: Mean F1 of the five classes the field reports.
        micro_f1: F1 over all decisions together, with its precision and recall.
        mean_auroc: Mean over the classes that have one.
        classes: Scores by class name.
    """

    n: int
    macro_f1: float
    macro_f1_supported: float
    macro_f1_five: float
    micro_f1: float
    micro_precision: float
    micro_recall: float
    mean_auroc: float | None
    classes: dict[str, ClassScore]

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain values."""
        return asdict(self)


def score_findings(
    targets: NDArray[Any], predicted: NDArray[Any], probabilities: NDArray[Any] | None = None
) -> FindingsScores:
    """Score predictions.

    Args:
        targets: [n, 14] of zeros and ones, in project order.
        predicted: [n, 14] of zeros and ones.
        probabilities: [n, 14], for AUROC; None leaves it out.

    Raises:
        ValueError: If the shapes differ, or there is nothing to score.
    """
    if targets.shape != predicted.shape or targets.ndim != 2 or targets.shape[1] != len(FINDINGS) or not len(targets):
        raise ValueError(f"cannot score {predicted.shape} against {targets.shape}")
    truth, guess = targets.astype(bool), predicted.astype(bool)
    hits, support, positive = (truth & guess).sum(0), truth.sum(0), guess.sum(0)
    precision, recall, f1 = _f1(hits, support, positive)
    areas = [None if probabilities is None else auroc(truth[:, i], probabilities[:, i]) for i in range(len(FINDINGS))]
    classes = {
        name: ClassScore(
            float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]), int(positive[i]), areas[i]
        )
        for i, name in enumerate(FINDINGS)
    }
    micro_precision, micro_recall, micro_f1 = (float(v) for v in _f1(hits.sum(), support.sum(), positive.sum()))
    known = [area for area in areas if area is not None]
    return FindingsScores(
        n=len(targets),
        macro_f1=float(f1.mean()),
        macro_f1_supported=float(f1[support > 0].mean()) if (support > 0).any() else 0.0,
        macro_f1_five=float(np.mean([classes[name].f1 for name in FIVE_FINDINGS])),
        micro_f1=micro_f1,
        micro_precision=micro_precision,
        micro_recall=micro_recall,
        mean_auroc=float(np.mean(known)) if known else None,
        classes=classes,
    )


def auroc(truth: NDArray[np.bool_], values: NDArray[Any]) -> float | None:
    """Return the area under the ROC curve by ranks, ties counting half; None without positives or negatives.

    Args:
        truth: [n].
        values: [n], higher meaning more likely.
    """
    positives, n = int(truth.sum()), len(truth)
    if positives in (0, n):
        return None
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (n - positives)))


def _f1(hits: Any, support: Any, positive: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return precision, recall and F1, each 0 where its denominator is."""
    return (
        hits / np.maximum(positive, 1),
        hits / np.maximum(support, 1),
        2 * hits / np.maximum(support + positive, 1),
    )
