"""From probabilities to the classes that count as present, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from radialog_instruct.findings import FINDINGS, NO_FINDING, canonical

HALF = 0.5
"""The paper's threshold, the same for all classes."""


def project_order(classes: Sequence[str]) -> list[int]:
    """Return where each of the 14 classes, in project order, stands among a model's own classes.

    Args:
        classes: The model's class names, in the order of its outputs.

    Raises:
        ValueError: If a name is unknown, stands twice, or is missing.
    """
    try:
        names = [canonical(name) for name in classes]
    except KeyError as error:
        raise ValueError(f"unknown class {error.args[0]!r}") from error
    missing = [name for name in FINDINGS if name not in names]
    if missing:
        raise ValueError(f"no class {missing[0]!r}")
    if len(names) != len(FINDINGS):
        raise ValueError("a class stands twice")
    return [names.index(name) for name in FINDINGS]


def threshold_tensor(thresholds: Mapping[str, float]) -> Tensor:
    """Arrange thresholds given by name into project order; [14].

    Raises:
        ValueError: If a name is unknown or missing, or a value is not between 0 and 1.
    """
    order = project_order(list(thresholds))
    values = list(thresholds.values())
    if not all(0 <= value <= 1 for value in values):
        raise ValueError("a threshold is not between 0 and 1")
    return torch.tensor([values[index] for index in order])


def present(probabilities: Tensor, thresholds: Tensor) -> tuple[str, ...]:
    """Return the classes at or above their threshold, in project order.

    Args:
        probabilities: [14].
        thresholds: [14].
    """
    pairs = zip(FINDINGS, probabilities.tolist(), thresholds.tolist(), strict=True)
    return tuple(name for name, probability, threshold in pairs if probability >= threshold)


def names_above(probabilities: Tensor, thresholds: Tensor) -> list[str]:
    """Return the classes at or above their threshold; "No Finding" where nothing else is.

    Args:
        probabilities: [14].
        thresholds: [14].
    """
    return list(present(probabilities, thresholds)) or [NO_FINDING]


def tune_thresholds(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Choose for each class the threshold with the best F1; a class without positives keeps 0.5.

    Args:
        probabilities: [n, 14].
        targets: [n, 14] of zeros and ones.

    Returns:
        [14].
    """
    thresholds = torch.full((len(FINDINGS),), HALF)
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
