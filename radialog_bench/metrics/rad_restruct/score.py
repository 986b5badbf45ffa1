"""Rad-ReStruct's scores, as sums of per-report statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct.complete import as_vectors, columns_of, complete
from radialog_bench.metrics.rad_restruct.layout import Layout, find_layout, load_layout
from radialog_bench.metrics.rad_restruct.matching import match_instances as put_in_order
from radialog_instruct.errors import DataError

NAMES = ("f1", "precision", "recall")
AVERAGES = tuple(f"{prefix}{name}" for prefix in ("official_", "") for name in NAMES)
"""The means over classes, in the order in which they are computed."""
_OWN = ("precision", "recall", "f1", "right", "exact", "columns", "one")
"""What the statistics hold of every report behind the classes."""

LEVELS: dict[str, Callable[[int, str], bool]] = {
    "level1": lambda level, _: level == 1,
    "level2": lambda level, _: level == 2,
    "level2_diseases": lambda level, kind: level == 2 and kind == "diseases",
    "level2_signs": lambda level, kind: level == 2 and kind == "signs",
    "level2_objects": lambda level, kind: level == 2 and kind == "objects",
    "level2_body_regions": lambda level, kind: level == 2 and kind in ("body_regions", "infos"),
    "level3": lambda level, _: level == 3,
}
"""The parts of the vector that are scored on their own, as the official evaluator divides it."""


@dataclass(frozen=True)
class LevelScores:
    """Scores of some columns; the means over classes are nan where no class has support.

    Attributes:
        official_f1: Mean over the rows of scikit-learn's ``classification_report(zero_division=1)`` with support,
            its four averages (micro, macro, weighted, samples) among them: the published figure.
        official_precision: The same of precision.
        official_recall: The same of recall.
        f1: Mean over the classes with support alone.
        precision: The same of precision; a class that is never predicted has 1.
        recall: The same of recall.
        accuracy: Share of right columns.
        report_accuracy: Share of reports in which every column is right.
    """

    official_f1: float
    official_precision: float
    official_recall: float
    f1: float
    precision: float
    recall: float
    accuracy: float
    report_accuracy: float

    def __getitem__(self, name: str) -> object:
        """Return a score by its name."""
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True)
class RadReStructScores(LevelScores):
    """Scores of whole answer vectors.

    Attributes:
        levels: The same scores by level, empty without a layout.
        completed: Whether the vectors were completed first; False without a layout, where they must be complete.
        match_instances: Whether these scores are of matched instances.
        matched: The scores with matched instances beside those without; None without a layout, or if these are they.
    """

    levels: Mapping[str, LevelScores]
    completed: bool
    match_instances: bool
    matched: RadReStructScores | None


def score(
    predictions: ArrayLike,
    targets: ArrayLike,
    layout: Layout | Path | str | None = None,
    *,
    match_instances: bool = False,
) -> RadReStructScores:
    """Score answer vectors as the official evaluator does, and without its averages of averages.

    Args:
        predictions: [n, columns] of 0 and 1 in the order of ``report_keys``; -2 where nothing was asked below a "no".
        targets: [n, columns] of 0 and 1, the references.
        layout: The layout or Rad-ReStruct's folder; None takes what ``find_layout`` finds. Without any, the
            predictions must be complete, and there is neither matching nor a division by level.
        match_instances: Whether the scores are those of matched instances. The official evaluator takes vectors as
            they are, so this is off; the benchmark's evaluation turns it on.

    Raises:
        DataError: If an array has another shape or other values, a single choice has two answers, or there is no
            layout and ``match_instances`` asks for one.
    """
    known = load_layout(Path(layout).resolve()) if isinstance(layout, str | Path) else layout or find_layout()
    guesses, truths = as_vectors(predictions, "predictions"), as_vectors(targets, "targets")
    if guesses.shape != truths.shape or not len(truths):
        raise DataError(f"{guesses.shape} predictions for {truths.shape} targets", where="answer vectors")
    if (truths < 0).any():
        raise DataError("the targets have open answers", where="targets", mend="references are 0 or 1 throughout")
    if known is None:
        return _without_layout(guesses, truths, match_instances)
    guesses = complete(guesses, known)
    matched = _scores(put_in_order(guesses, truths, known), truths, known, matched=True)
    return matched if match_instances else _scores(guesses, truths, known, matched=False, beside=matched)


def report_statistics(predictions: Floats, targets: Floats) -> Floats:
    """Return the sufficient statistics of every report.

    Their width depends on the targets alone, so that models are compared on equal terms.

    Args:
        predictions: [n, columns] of 0 and 1.
        targets: [n, columns] of 0 and 1.

    Returns:
        [n, 2 * classes + columns + 7]: hits, predictions and references of the classes that occur in the targets, the
        predictions of all others, then the report's own precision, recall and F1, its right columns, whether all are
        right, the number of columns, and a one.
    """
    hits = predictions * targets
    occurs = targets.any(axis=0)
    hit, guessed, true = hits.sum(axis=1), predictions.sum(axis=1), targets.sum(axis=1)
    right, width = (predictions == targets).sum(axis=1), predictions.shape[1]
    own = (
        _ratio(hit, guessed),
        _ratio(hit, true),
        _ratio(2 * hit, guessed + true),
        right,
        right == width,
        np.full(len(hit), width),
        np.ones(len(hit)),
    )
    classes = (hits[:, occurs], predictions[:, occurs], targets[:, occurs], predictions[:, ~occurs])
    return np.hstack((*classes, np.column_stack(own)))


def averages(sums: Floats) -> Floats:
    """Return the means over classes: the official ones and those over the classes alone.

    Args:
        sums: [..., k], as ``report_statistics`` gives them, summed over reports.

    Returns:
        [..., 6], ordered as ``AVERAGES``; nan where no class has support.
    """
    counts, stray, own = _split(sums)
    hits, guessed, support = counts
    supported = (support > 0).astype(np.float64)
    n_supported, total = supported.sum(-1), support.sum(-1)
    overall = hits.sum(-1), guessed.sum(-1) + stray.sum(-1), total
    silent = (stray == 0).astype(np.float32).sum(-1)
    official, clean = [], []
    for name in NAMES:
        values = _of(name, counts)
        of_supported = _dot(values, supported)
        # A class that is only predicted has recall 1, and precision and F1 0; one that never occurs has 1 throughout.
        others = stray.shape[-1] if name == "recall" else silent
        rows = (
            _of(name, overall)
            + (values.sum(-1) + others) / own["columns"]
            + _quotient(_dot(values, support), total)
            + own[name]
        )
        official.append(_quotient(of_supported + rows, n_supported + 4))
        clean.append(_quotient(of_supported, n_supported))
    return np.stack([*official, *clean], axis=-1)


def share(sums: Floats, name: str) -> Floats:
    """Return the share of right columns (``"right"``) or of reports without an error (``"exact"``)."""
    _, _, own = _split(sums)
    return own["exact"] if name == "exact" else own["right"] / own["columns"]


def level_columns(layout: Layout) -> dict[str, NDArray[np.intp]]:
    """Return the columns of every level that the layout has."""
    columns = {
        name: columns_of([question for question in layout.questions if belongs(question.level, question.kind)])
        for name, belongs in LEVELS.items()
    }
    return {name: part for name, part in columns.items() if len(part)}


def level_scores(predictions: Floats, targets: Floats) -> LevelScores:
    """Return all scores of some columns."""
    sums = report_statistics(predictions, targets).sum(0)
    return LevelScores(*map(float, (*averages(sums), share(sums, "right"), share(sums, "exact"))))


def _scores(
    guesses: Floats, truths: Floats, layout: Layout, *, matched: bool, beside: RadReStructScores | None = None
) -> RadReStructScores:
    return RadReStructScores(
        **vars(level_scores(guesses, truths)),
        levels={name: level_scores(guesses[:, part], truths[:, part]) for name, part in level_columns(layout).items()},
        completed=True,
        match_instances=matched,
        matched=beside,
    )


def _without_layout(guesses: Floats, truths: Floats, match_instances: bool) -> RadReStructScores:
    if match_instances:
        raise DataError("instances cannot be matched without the layout", where="layout", mend="give the folder")
    if (guesses < 0).any():
        raise DataError("vectors with open answers need the layout", where="layout", mend="give Rad-ReStruct's folder")
    whole = vars(level_scores(guesses, truths))
    return RadReStructScores(**whole, levels={}, completed=False, match_instances=False, matched=None)


def _split(sums: Floats) -> tuple[tuple[Floats, Floats, Floats], Floats, dict[str, Floats]]:
    """Return hits, predictions and references of the classes, other predictions, and means of the reports' own."""
    last = sums.shape[-1] - len(_OWN)
    own = dict(zip(_OWN, np.moveaxis(sums[..., last:], -1, 0), strict=True))
    means = {name: _quotient(value, own["one"]) for name, value in own.items()}
    classes = (last - round(float(np.max(means["columns"], initial=0)))) // 2
    hits, guessed, true = (sums[..., n * classes : (n + 1) * classes] for n in range(3))
    return (hits, guessed, true), sums[..., 3 * classes : last], means


def _of(name: str, counts: Sequence[Floats]) -> Floats:
    hits, guessed, true = counts
    if name == "f1":
        return _ratio(2 * hits, guessed + true)
    return _ratio(hits, guessed if name == "precision" else true)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide parts by wholes; nothing of nothing is 1, as scikit-learn's ``zero_division=1``."""
    nothing = denominator == 0
    ratio: Floats = (numerator + nothing) / (denominator + nothing) if nothing.any() else numerator / denominator
    return ratio


def _dot(one: Floats, two: Floats) -> Floats:
    """Return the sums of products along the last axis."""
    sums: Floats = np.einsum("...c,...c->...", one, two)
    return sums


def _quotient(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; over nothing it is undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = numerator / denominator
    return quotient
