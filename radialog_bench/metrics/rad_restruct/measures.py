"""Rad-ReStruct's scores as the bench's metrics, with intervals, and the table by level."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from radialog_bench.metrics.base import Floats, Metric, OneOf
from radialog_bench.metrics.lexical import mean
from radialog_bench.metrics.rad_restruct.layout import Layout
from radialog_bench.metrics.rad_restruct.score import (
    AVERAGES,
    LevelScores,
    averages,
    level_columns,
    level_scores,
    report_statistics,
)
from radialog_bench.results import Table

_COLUMNS = {
    "official_f1": "official F1",
    "official_precision": "official precision",
    "official_recall": "official recall",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "report_accuracy": "exact reports",
}


def vector_metrics(*, matched: bool) -> tuple[Metric[Floats], ...]:
    """Return the metrics over answer vectors.

    Args:
        matched: Whether the vectors' instances are matched; stands in the signatures, and in the names where not.
    """
    ending = "" if matched else "_unmatched"
    switch = f"match_instances:{'on' if matched else 'off'}|parser:options|v1"
    rows = {name: "rows:classes+averages" if name.startswith("official_") else "rows:classes" for name in AVERAGES}
    means = [
        Metric(
            f"{name}{ending}",
            f"{name}|{rows[name]}|zero_division:1|{switch}",
            _class_statistics,
            OneOf(averages, place),
            per_sample=False,
            smooth=True,
        )
        for place, name in enumerate(AVERAGES)
    ]
    shares = [
        Metric(f"{name}{ending}", f"{name}|{switch}", statistics, mean, right_or_wrong=name == "report_accuracy")
        for name, statistics in (("accuracy", _right_columns), ("report_accuracy", _right_reports))
    ]
    return (*means, *shares)


def level_table(predictions: Floats, targets: Floats, layout: Layout, *, matched: bool) -> Table:
    """Return the scores of every level; None where no class of a level has support.

    Args:
        predictions: [n, layout.size].
        targets: [n, layout.size].
        layout: Their layout.
        matched: Whether instances are matched, for the title.
    """
    rows = [
        (
            name.replace("level", "level ").replace("_", ", "),
            *_shown(level_scores(predictions[:, part], targets[:, part])),
        )
        for name, part in level_columns(layout).items()
    ]
    title = f"Scores by level, instances {'matched' if matched else 'as they were named'}"
    return Table(title=title, columns=("", *_COLUMNS.values()), rows=tuple(rows))


def _shown(scores: LevelScores) -> list[float | None]:
    values = [float(getattr(scores, name)) for name in _COLUMNS]
    return [None if np.isnan(value) else value for value in values]


def _class_statistics(predictions: Sequence[Floats], references: Sequence[Floats]) -> Floats:
    return _shared(_Vectors(predictions), _Vectors(references))


class _Vectors:
    """Answer vectors as a key: six metrics have the same statistics, and computing them takes longer than comparing."""

    def __init__(self, rows: Sequence[Floats]) -> None:
        self.array = np.asarray(rows)
        self._hash = hash(self.array.tobytes())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Vectors) and np.array_equal(self.array, other.array)


@lru_cache(maxsize=4)
def _shared(predictions: _Vectors, references: _Vectors) -> Floats:
    return report_statistics(predictions.array, references.array)


def _right_columns(predictions: Sequence[Floats], references: Sequence[Floats]) -> Floats:
    right = np.asarray(predictions) == np.asarray(references)
    return np.column_stack((right.mean(axis=1), np.ones(len(right))))


def _right_reports(predictions: Sequence[Floats], references: Sequence[Floats]) -> Floats:
    right = (np.asarray(predictions) == np.asarray(references)).all(axis=1)
    return np.column_stack((right.astype(np.float64), np.ones(len(right))))
