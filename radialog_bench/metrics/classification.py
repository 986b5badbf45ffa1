"""Accuracy, macro F1 and the confusion matrix of answers that are one of a few classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.results import Table

UNKNOWN = "unknown"
"""Class of an answer that names none of the classes; it is never a reference."""


def classification_metrics(classes: Sequence[str], parser: str) -> tuple[Metric[str], ...]:
    """Return the metrics over class names.

    Args:
        classes: The classes without ``UNKNOWN``.
        parser: Name of the rule that read the answers; it stands in the signatures.
    """
    names = (*classes, UNKNOWN)

    def statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
        return confusion_statistics(predictions, references, names)

    def metric(name: str, value: Callable[[Floats], Floats], *, right_or_wrong: bool = False) -> Metric[str]:
        signature = f"{name}|parser:{parser}|v1"
        return Metric(name, signature, statistics, value, per_sample=right_or_wrong, right_or_wrong=right_or_wrong)

    size = len(names)
    return (
        metric("accuracy", lambda sums: accuracy(sums, size), right_or_wrong=True),
        metric("balanced_accuracy", lambda sums: balanced_accuracy(sums, size)),
        metric("macro_f1", lambda sums: macro_f1(sums, size, with_unknown=True)),
        metric("macro_f1_without_unknown", lambda sums: macro_f1(sums, size, with_unknown=False)),
    )


def confusion_statistics(predictions: Sequence[str], references: Sequence[str], classes: Sequence[str]) -> Floats:
    """Return [n, classes * classes]: a one in the cell of reference (row) and answer (column)."""
    index = {name: number for number, name in enumerate(classes)}
    cells = np.zeros((len(predictions), len(classes) ** 2))
    for row, prediction, reference in zip(cells, predictions, references, strict=True):
        row[index[reference] * len(classes) + index[prediction]] = 1
    return cells


def accuracy(sums: Floats, size: int) -> Floats:
    """Return the share of right answers; nan over nothing."""
    matrix = _matrix(sums, size)
    return _divide(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum((-2, -1)))


def balanced_accuracy(sums: Floats, size: int) -> Floats:
    """Return the mean recall of the classes that occur as references."""
    matrix = _matrix(sums, size)
    support = matrix.sum(-1)
    recall = _divide(np.diagonal(matrix, axis1=-2, axis2=-1), support)
    return _divide(np.where(support > 0, recall, 0).sum(-1), (support > 0).sum(-1))


def macro_f1(sums: Floats, size: int, *, with_unknown: bool) -> Floats:
    """Return the mean F1 over the classes that occur as reference or answer, as scikit-learn averages.

    Args:
        sums: [..., size * size].
        size: Number of classes, ``UNKNOWN`` the last of them.
        with_unknown: Whether ``UNKNOWN`` counts as a class of the mean.
    """
    matrix = _matrix(sums, size)
    true = np.diagonal(matrix, axis1=-2, axis2=-1)
    total = matrix.sum(-1) + matrix.sum(-2)
    f1, occurs = _divide(2 * true, total), total > 0
    last = size if with_unknown else size - 1
    return _divide(np.where(occurs, f1, 0)[..., :last].sum(-1), occurs[..., :last].sum(-1))


def confusion_table(predictions: Sequence[str], references: Sequence[str], classes: Sequence[str]) -> Table:
    """Return the confusion matrix: a row a reference class, a column an answer."""
    names = (*classes, UNKNOWN)
    matrix = _matrix(confusion_statistics(predictions, references, names).sum(0), len(names))
    rows = tuple((name, *(int(v) for v in matrix[number])) for number, name in enumerate(classes))
    return Table(title="Confusion matrix (rows: reference, columns: answer)", columns=("", *names), rows=rows)


def _matrix(sums: Floats, size: int) -> Floats:
    return sums.reshape(*sums.shape[:-1], size, size)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = numerator / denominator
    return quotient
