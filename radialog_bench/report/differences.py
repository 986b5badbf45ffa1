"""How an answer differs from its reference: in findings, in the sentences that name them, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from radialog_instruct.findings import NEGATIVE, NO_FINDING, parse_findings_text
from radialog_instruct.labeling import rules

MIN_WORDS, MAX_WORDS = 5, 1500
"""Shorter texts are seen at a glance; for longer ones the time grows with the product of their lengths."""
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])")

Verdict = Literal["both", "added", "missed"]


@dataclass(frozen=True)
class FindingsDifference:
    """Positive findings of an answer beside those of its reference, in project order.

    Attributes:
        both: Named by both.
        added: Named by the answer alone.
        missed: Named by the reference alone.
    """

    both: tuple[str, ...]
    added: tuple[str, ...]
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """A piece of a text; joined, the pieces are the text.

    Attributes:
        text: Its characters.
        verdict: Whether a finding that it names stands on both sides or on this one alone; None without a finding.
        why: The findings it names.
    """

    text: str
    verdict: Verdict | None = None
    why: str = ""


@dataclass(frozen=True)
class Word:
    """Words in a row that stand in both texts or in one of them."""

    text: str
    side: Literal["both", "answer", "reference"]


def compare_findings(answer: str | None, reference: str | None) -> FindingsDifference | None:
    """Compare two findings lists, as ``findings_text`` writes them; None if one is missing or something else."""
    if answer is None or reference is None:
        return None
    try:
        guess, truth = parse_findings_text(answer), parse_findings_text(reference)
    except KeyError:
        return None
    return FindingsDifference(
        tuple(name for name in truth if name in guess),
        tuple(name for name in guess if name not in truth),
        tuple(name for name in truth if name not in guess),
    )


def mark_answer(text: str, difference: FindingsDifference) -> list[Piece]:
    """Cut an answer into sentences and mark those in which the rule labeler finds one of its positive findings."""
    return _mark(text, difference.both, difference.added, "added")


def mark_reference(text: str, difference: FindingsDifference) -> list[Piece]:
    """Cut a reference into sentences and mark those that name a finding the answer has, or has missed."""
    return _mark(text, difference.both, difference.missed, "missed")


def compare_words(reference: str, answer: str) -> list[Word] | None:
    """Compare two texts word by word, whatever their case; None if both are very short or one is very long."""
    old, new = _WORD.findall(reference), _WORD.findall(answer)
    if not MIN_WORDS <= max(len(old), len(new)) <= MAX_WORDS:
        return None
    matcher = SequenceMatcher(None, [w.strip().lower() for w in old], [w.strip().lower() for w in new], autojunk=False)
    found: list[Word] = []
    for operation, i, j, k, m in matcher.get_opcodes():
        if operation == "equal":
            found.append(Word("".join(new[k:m]), "both"))
            continue
        found += [Word("".join(old[i:j]), "reference")] if i < j else []
        found += [Word("".join(new[k:m]), "answer")] if k < m else []
    return found


def _mark(text: str, both: tuple[str, ...], alone: tuple[str, ...], verdict: Verdict) -> list[Piece]:
    return list(_pieces(text, both, alone, verdict))


def _pieces(text: str, both: tuple[str, ...], alone: tuple[str, ...], verdict: Verdict) -> Iterator[Piece]:
    position = 0
    for sentence in rules.mentions(text):
        if sentence.start > position:
            yield Piece(text[position : sentence.start])
        named = [name for name, value in sentence.marks.items() if value != NEGATIVE and name != NO_FINDING]
        different = sorted(name for name in named if name in alone)
        agreed = sorted(name for name in named if name in both)
        words = text[sentence.start : sentence.end]
        if different:
            yield Piece(words, verdict, ", ".join(different).lower())
        elif agreed:
            yield Piece(words, "both", ", ".join(agreed).lower())
        else:
            yield Piece(words)
        position = sentence.end
    if position < len(text):
        yield Piece(text[position:])
