"""Clinical efficacy (CE): F1 over the 14 CheXpert classes that a labeler finds in answer and reference.

Equal to scikit-learn's multilabel F1 with ``zero_division=0``. A blank counts as 0; an uncertain finding as 0 in
RaDialog's protocol and as 1 in that of f1chexbert and RadEval, so every score comes in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.metrics.lexical import mean
from radialog_bench.results import Table
from radialog_instruct.findings import FINDINGS, FIVE_FINDINGS, Labels, UncertainPolicy, binarise, index_of

Average = Literal["macro", "macro_supported", "micro", "weighted"]
Score = Literal["f1", "precision", "recall"]
N = len(FINDINGS)
_FIVE = tuple(index_of(name) for name in FIVE_FINDINGS)
SCORES: tuple[Score, ...] = ("f1", "precision", "recall")
LabelPair = tuple[Labels, Labels]
POLICIES: tuple[UncertainPolicy, ...] = ("negative", "positive")


def clinical_metrics(labeler: str) -> tuple[Metric[Labels], ...]:
    """Return all CE metrics over labels.

    Args:
        labeler: The labeler's signature; it stands in every metric's signature.
    """
    return tuple(metric for policy in POLICIES for metric in _metrics(labeler, policy))


def _metrics(labeler: str, policy: UncertainPolicy) -> list[Metric[Labels]]:
    def counts(predictions: Sequence[Labels], references: Sequence[Labels]) -> Floats:
        return count_statistics(predictions, references, policy)

    def samples(predictions: Sequence[Labels], references: Sequence[Labels]) -> Floats:
        return sample_f1_statistics(predictions, references, policy)

    suffix = "" if policy == "negative" else "_uncertain_positive"

    def signature(name: str) -> str:
        return f"{name}|labeler:{labeler}|uncertain:{policy}|v1"

    made: list[Metric[Labels]] = []
    averages: tuple[Average, ...] = ("macro", "macro_supported", "micro", "weighted")
    for name, classes, kinds in (("ce", tuple(range(N)), averages), ("ce5", _FIVE, averages[:1] + averages[2:3])):
        for average in kinds:
            full = f"{name}_{average.replace('macro_supported', 'macro')}_f1"
            full += "_supported" if average == "macro_supported" else ""
            made.append(
                Metric(
                    full + suffix,
                    signature(full),
                    counts,
                    partial(averaged, average=average, classes=classes),
                    per_sample=False,
                    smooth=average.startswith("macro"),
                )
            )
    made.append(Metric(f"ce_samples_f1{suffix}", signature("ce_samples_f1"), samples, mean))
    return made


def count_statistics(predictions: Sequence[Labels], references: Sequence[Labels], policy: UncertainPolicy) -> Floats:
    """Return [n, 42]: true positives, false positives and false negatives of the 14 classes."""
    guess, truth = _matrix(predictions, policy), _matrix(references, policy)
    return np.concatenate((guess & truth, guess & ~truth, ~guess & truth), axis=1).astype(np.float64)


def sample_f1_statistics(
    predictions: Sequence[Labels], references: Sequence[Labels], policy: UncertainPolicy
) -> Floats:
    """Return [n, 2]: the F1 of the sample's own label set, 0 where both sets are empty, and a one."""
    guess, truth = _matrix(predictions, policy), _matrix(references, policy)
    both, either = (guess & truth).sum(1), guess.sum(1) + truth.sum(1)
    scores = np.where(either > 0, 2 * both / np.maximum(either, 1), 0.0)
    return np.column_stack((scores, np.ones(len(scores))))


def averaged(sums: Floats, average: Average, classes: Sequence[int], score: Score = "f1") -> Floats:
    """Return an averaged F1, precision or recall from summed counts.

    Args:
        sums: [..., 42], as ``count_statistics`` gives them, summed over samples.
        average: ``macro`` over all classes; ``macro_supported`` over those the references hold; ``micro``; ``weighted``
            by support.
        classes: Indices of the classes to average over.
        score: What is averaged.

    Returns:
        [...]; nan where no class has support and the average needs one.
    """
    chosen = np.asarray(classes)
    tp, fp, fn = (sums[..., chosen + offset * N] for offset in range(3))
    if average == "micro":
        return _score(tp.sum(-1), fp.sum(-1), fn.sum(-1), score)
    per_class, support = _score(tp, fp, fn, score), tp + fn
    if average == "macro":
        macro: Floats = per_class.mean(-1)
        return macro
    weights = support if average == "weighted" else (support > 0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_of_classes: Floats = (per_class * weights).sum(-1) / weights.sum(-1)
    return mean_of_classes


def _score(tp: Floats, fp: Floats, fn: Floats, score: Score) -> Floats:
    if score == "precision":
        return _ratio(tp, tp + fp)
    if score == "recall":
        return _ratio(tp, tp + fn)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def change_in_macro_f1(labeler: str) -> Metric[LabelPair]:
    """Return the change of the macro F1 from a first to a second report about the same references.

    The predictions are pairs of labels (first, second); the statistics are the counts of both, side by side.

    Args:
        labeler: The labeler's signature.
    """

    def statistics(predictions: Sequence[LabelPair], references: Sequence[LabelPair]) -> Floats:
        truths = [truth for truth, _ in references]
        first = count_statistics([pair[0] for pair in predictions], truths, "negative")
        return np.hstack((first, count_statistics([pair[1] for pair in predictions], truths, "negative")))

    def value(sums: Floats) -> Floats:
        first, second = (averaged(sums[..., part], "macro", range(N)) for part in (slice(3 * N), slice(3 * N, None)))
        return second - first

    signature = f"delta_ce_macro_f1|labeler:{labeler}|uncertain:negative|v1"
    return Metric("delta_ce_macro_f1", signature, statistics, value, per_sample=False, smooth=True)


def label_set_metrics(name: str, signature: str) -> tuple[Metric[Labels], ...]:
    """Return macro F1, precision and recall of label sets that were not read by a labeler, but answered as questions.

    Args:
        name: Prefix of the names.
        signature: What reads answers and references.
    """
    return tuple(
        Metric(
            f"{name}_macro_{score}" + ("" if policy == "negative" else "_uncertain_positive"),
            f"{name}_macro_{score}|{signature}|uncertain:{policy}|v1",
            partial(count_statistics, policy=policy),
            partial(averaged, average="macro", classes=range(N), score=score),
            per_sample=False,
            smooth=True,
        )
        for policy in POLICIES
        for score in SCORES
    )


def per_class_table(
    predictions: Sequence[Labels],
    references: Sequence[Labels],
    title: str = "Findings by class (uncertain and blank count as absent)",
) -> Table:
    """Return precision, recall, F1 and support of each class; None where the references hold no positive."""
    sums = count_statistics(predictions, references, "negative").sum(0)
    rows: list[tuple[str | float | int | None, ...]] = []
    for index, name in enumerate(FINDINGS):
        tp, fp, fn = (int(sums[index + offset * N]) for offset in range(3))
        if tp + fn == 0:
            rows.append((name, None, None, None, 0, tp + fp))
            continue
        precision = tp / (tp + fp) if tp + fp else 0.0
        f_score = 2 * tp / (2 * tp + fp + fn)
        rows.append((name, round(precision, 6), round(tp / (tp + fn), 6), round(f_score, 6), tp + fn, tp + fp))
    columns = ("finding", "precision", "recall", "F1", "in references", "in answers")
    return Table(title=title, columns=columns, rows=tuple(rows))


def _matrix(labels: Sequence[Labels], policy: UncertainPolicy) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.array([binarise(row, policy) for row in labels], dtype=np.bool_).reshape(len(labels), N)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    ratio: Floats = np.where(denominator > 0, numerator / np.maximum(denominator, 1e-300), 0.0)
    return ratio
