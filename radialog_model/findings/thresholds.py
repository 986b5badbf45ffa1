"""From probabilities to the classes that count as present."""

from __future__ import annotations

import torch
from torch import Tensor

from radialog_instruct.findings import FINDINGS, NO_FINDING


def names_above(probabilities: Tensor, thresholds: Tensor) -> list[str]:
    """Return the classes at or above their threshold; "No Finding" where nothing else is.

    Args:
        probabilities: [14].
        thresholds: [14].
    """
    names = [name for name, p, t in zip(FINDINGS, probabilities.tolist(), thresholds.tolist(), strict=True) if p >= t]
    return names or [NO_FINDING]


def tune_thresholds(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Choose for each class the threshold with the best F1; a class without positives keeps 0.5.

    Args:
        probabilities: [n, 14].
        targets: [n, 14] of zeros and ones.

    Returns:
        [14].
    """
    thresholds = torch.full((len(FINDINGS),), 0.5)
    for index in range(len(FINDINGS)):
        positive = targets[:, index] == 1
        if not positive.any():
            continue
        best = -1.0
        for candidate in torch.linspace(0.05, 0.95, 91).tolist():
            predicted = probabilities[:, index] >= candidate
            true_positives = (predicted & positive).sum()
            f1 = float(2 * true_positives / (predicted.sum() + positive.sum()))
            if f1 > best:
                best, thresholds[index] = f1, candidate
    return thresholds
