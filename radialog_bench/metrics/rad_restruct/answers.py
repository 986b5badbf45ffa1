"""From free text to options, and from options to an answer vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct.layout import NO, Layout, Question

UNPARSED_BINARY = "answer is neither yes nor no"
UNPARSED_CHOICE = "answer names none of the options"
SEVERAL = "several answers where one is right"
_AROUND = " \t\r\n.;:!\"'`*()[]"
"""Taken off the ends of an answer's pieces before they are compared with the options."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says.

    Attributes:
        options: The chosen options in the order they were named.
        fault: What was wrong with the text, or None.
    """

    options: tuple[str, ...]
    fault: str | None = None


def parse(text: str, question: Question) -> Parsed:
    """Read the options a free text names.

    The text is split on commas; a run of pieces that is an option's name, in any case, chooses it, the longest run
    first, because some names hold a comma. Where one answer is right the first counts. "No selection" beside another
    choice is dropped. A text without an option is a "no" or no selection.

    Args:
        text: The answer.
        question: What was asked.
    """
    found = _named(text, question.options)
    if not found:
        return Parsed(unanswered(question), UNPARSED_BINARY if question.is_binary else UNPARSED_CHOICE)
    if question.answer_type != "multi_choice":
        return Parsed((found[0],), SEVERAL if len(found) > 1 else None)
    return Parsed(tuple(option for option in found if option != question.nothing) or (found[0],))


def unanswered(question: Question) -> tuple[str, ...]:
    """Return what a question without an answer counts as: no, the option for nothing, or no option at all."""
    if question.is_binary:
        return (NO,)
    return (question.nothing,) if question.nothing is not None else ()


def encode(layout: Layout, answers: Mapping[str, tuple[str, ...]]) -> Floats:
    """Write answers as a vector.

    Args:
        layout: The layout.
        answers: Chosen options by the question's key; a question without an entry was not asked: it is closed.

    Returns:
        [layout.size] of 0 and 1.
    """
    vector = np.zeros(layout.size)
    for question in layout.questions:
        chosen = answers.get(question.key, (NO,) if question.is_binary else ())
        for option in chosen:
            vector[question.column(option)] = 1
    return vector


def _named(text: str, options: tuple[str, ...]) -> list[str]:
    """Return the options a text names, each once."""
    names = {option.casefold(): option for option in options}
    longest = max(option.count(",") for option in options) + 1
    pieces = [" ".join(piece.split()).strip(_AROUND).casefold() for piece in text.split(",")]
    found, place = [], 0
    while place < len(pieces):
        for end in range(min(place + longest, len(pieces)), place, -1):
            option = names.get(", ".join(pieces[place:end]))
            if option is not None:
                found += [option] if option not in found else []
                place = end
                break
        else:
            place += 1
    return found
