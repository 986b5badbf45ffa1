"""Completes answer vectors: what was not chosen, and what a "no" closes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct.layout import NO, YES, Instance, Layout, Question, Topic
from radialog_instruct.errors import DataError

NOT_ASKED = -2
"""Stands in a vector for an answer that was never asked for, below a "no"."""

Bools = NDArray[np.bool_]


def as_vectors(vectors: ArrayLike, name: str) -> Floats:
    """Return answer vectors as floats.

    Args:
        vectors: [n, columns] of 0, 1 and ``NOT_ASKED``.
        name: What they are, for the error.

    Raises:
        DataError: If the array has another shape or other values.
    """
    try:
        array = np.array(vectors, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"not a matrix of numbers: {error}", where=name, mend="give one row a report") from error
    if array.ndim != 2:
        raise DataError(f"{array.ndim} dimensions instead of 2", where=name, mend="give one row a report")
    odd = ~np.isin(array, (0, 1, NOT_ASKED))
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise DataError(
            f"{array[row, column]} is no answer", where=f"{name}[{row}, {column}]", mend="answers are 0 or 1"
        )
    return array


def complete(vectors: Floats, layout: Layout) -> Floats:
    """Complete answer vectors as the official evaluator does before it scores.

    A multiple choice without a choice gets "unspecified" or "no selection" where it offers one, and loses it beside
    another choice. What stands below a "no" is closed: findings are "no", details have nothing chosen.

    Args:
        vectors: [n, layout.size] of 0, 1 and ``NOT_ASKED``; left as they are.
        layout: Their layout.

    Returns:
        [n, layout.size] of 0 and 1.

    Raises:
        DataError: If the width is wrong, a single choice has two answers, or an open question was not asked.
    """
    if vectors.shape[1] != layout.size:
        raise DataError(
            f"{vectors.shape[1]} columns, but the layout has {layout.size}",
            where="answer vectors",
            mend="give the vectors in the order of report_keys",
        )
    done = vectors.copy()
    for question in layout.questions:
        _choose(done, question)
    for topic in layout.topics:
        _close(done, topic)
    left = np.argwhere(done == NOT_ASKED)
    if len(left):
        row, column = left[0]
        raise DataError(
            "an open question has no answer", where=f"row {row}, column {column}", mend="answer it by 0 or 1"
        )
    return done


def _choose(done: Floats, question: Question) -> None:
    chosen = done[:, question.columns].sum(axis=1)
    if question.answer_type == "single_choice" and (chosen > 1).any():
        row = int(np.argmax(chosen > 1))
        raise DataError("a single choice has two answers", where=f"row {row}, {question.key}", mend="choose one")
    if question.answer_type == "multi_choice" and question.nothing is not None:
        column = question.column(question.nothing)
        done[chosen > 1, column] = 0
        done[chosen == 0, column] = 1


def _close(done: Floats, topic: Topic) -> None:
    """Close what lies below a no.

    A pair without yes and no leaves further instances open, and the details of an ``infos`` area too: the official
    evaluator tests for "no" there, and for "yes" elsewhere.
    """
    everyone = np.ones(len(done), dtype=bool)
    above_no = _is_no(done, topic.question) if topic.question is not None else ~everyone
    above_yes = _is_yes(done, topic.question) if topic.question is not None else everyone
    for finding in topic.findings:
        before_no = ~everyone
        for instance in finding.instances:
            pair = done[:, instance.question.columns]
            pair[above_no | before_no | (pair == NOT_ASKED).all(axis=1)] = (0, 1)
            before_no = _is_no(done, instance.question)
            is_open = _is_open(done, instance, topic.question is None) & above_yes
            for detail in instance.details:
                done[~is_open, detail.columns] = 0


def _is_open(done: Floats, instance: Instance, whole_area: bool) -> Bools:
    question = instance.question
    if whole_area:
        is_open: Bools = done[:, question.column(NO)] != 1
        return is_open
    return _column(done, question, YES)


def _is_yes(done: Floats, question: Question) -> Bools:
    return _column(done, question, YES)


def _is_no(done: Floats, question: Question) -> Bools:
    return ~_column(done, question, YES) & _column(done, question, NO)


def _column(done: Floats, question: Question, option: str) -> Bools:
    chosen: Bools = done[:, question.column(option)] == 1
    return chosen


def columns_of(questions: Sequence[Question]) -> NDArray[np.intp]:
    """Return the columns of some questions."""
    parts = [np.arange(question.columns.start, question.columns.stop) for question in questions]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.intp)
