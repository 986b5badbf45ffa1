"""The rule labeler: report text to 14 CheXpert labels, offline and without a model.

Like the CheXpert labeler (Irvin et al., 2019) it looks for mentions, then for cues that deny or doubt them within
reach, and joins the mentions of a class: one positive mention wins over uncertain ones, an uncertain one over negative
ones. "No Finding" is positive when a text names no other class but Support Devices as positive or uncertain and no
abnormality outside the classes. Lung Opacity is not derived from its child classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from radialog_instruct.findings import (
    FINDINGS,
    NEGATIVE,
    NO_FINDING,
    POSITIVE,
    SUPPORT_DEVICES,
    UNCERTAIN,
    Labels,
    LabelValue,
    make_labels,
)
from radialog_instruct.labeling import phrases
from radialog_instruct.labeling.phrases import OTHER

NAME = "rules"
VERSION = 2

_Marks = frozenset[tuple[str, LabelValue]]

_MENTIONS = {name: re.compile(pattern) for name, pattern in phrases.MENTIONS.items()}
_NOT_MENTIONS = {name: re.compile(pattern) for name, pattern in phrases.NOT_MENTIONS.items()}
_NORMAL = {name: re.compile(pattern) for name, pattern in phrases.NORMAL_ANATOMY.items()}
_BORDERLINE = {name: re.compile(pattern) for name, pattern in phrases.BORDERLINE.items()}
_WORD = re.compile(r"[a-z]+")
_PREFIX = 5
_TRIGGERED: dict[str, tuple[str, ...]] = {}
"""Beginning of a word -> findings whose patterns are worth trying; most sentences need one or two of them."""
for _name, _beginnings in phrases.TRIGGERS.items():
    for _beginning in _beginnings.split():
        _TRIGGERED[_beginning] = (*_TRIGGERED.get(_beginning, ()), _name)
_WEAK = {name: re.compile(pattern) for name, pattern in phrases.WEAK.items()}
_NOT_NEGATION = re.compile(phrases.NOT_NEGATION)
_NEGATION_BEFORE = re.compile(phrases.NEGATION_BEFORE)
_NEGATION_AFTER = re.compile(phrases.NEGATION_AFTER)
_UNCERTAIN_BEFORE = re.compile(phrases.UNCERTAIN_BEFORE)
_UNCERTAIN_AFTER = re.compile(phrases.UNCERTAIN_AFTER)
_SCOPE_END = re.compile(phrases.SCOPE_END)
# A full stop ends a sentence unless it stands in a number ("1.5 cm") or closes a list number ("1.").
_SENTENCE_END = re.compile(r"(?<!\d)[.?!]+(?=\s|$)|(?<=\d)\.(?=\s+[a-z]|$)|\n\s*\n")
_REACH = 90
"""Characters between a cue and a mention beyond which the cue no longer applies."""


def signature() -> str:
    """Return the labeler's name, version and vocabulary hash, as it stands in a metric's signature."""
    vocabulary = repr(
        sorted((name, value) for name, value in vars(phrases).items() if name.isupper() and not name.startswith("_"))
    )
    return f"{NAME}-v{VERSION}-{blake2b(vocabulary.encode(), digest_size=4).hexdigest()}"


def label(text: str, *, cache: bool = True) -> Labels:
    """Label a report, or any part of one.

    Args:
        text: The text; an empty one has 14 blanks.
        cache: Whether sentences met before are remembered; reports repeat many.

    Returns:
        Fourteen values in the order of ``FINDINGS``.
    """
    found: dict[str, LabelValue] = {}
    sentences = _sentences(text)
    marks = _remembered if cache else _label_sentence
    for sentence in sentences:
        for name, value in marks(sentence):
            found[name] = _stronger(found.get(name), value)
    abnormal = any(value in (POSITIVE, UNCERTAIN) for name, value in found.items() if name != SUPPORT_DEVICES)
    found.pop(OTHER, None)
    if sentences and not abnormal:
        found[NO_FINDING] = POSITIVE
    return make_labels({name: found.get(name) for name in FINDINGS})


def label_many(texts: Iterable[str]) -> list[Labels]:
    """Label several texts, in their order."""
    return [label(text) for text in texts]


@dataclass(frozen=True, slots=True)
class Mentions:
    """A sentence and the findings it speaks of.

    Attributes:
        start: Offset of its first character in the text.
        end: Offset after its last character, a closing full stop included.
        marks: Finding -> positive, uncertain or negative.
    """

    start: int
    end: int
    marks: dict[str, LabelValue]


def mentions(text: str) -> list[Mentions]:
    """Tell which sentence of a text mentions which finding; ``label`` joins the same marks over the whole text.

    Args:
        text: The text; offsets count its characters.

    Returns:
        The sentences with letters in them, in their order.
    """
    # Lower-casing may lengthen a text (a dotted capital I), which would shift every offset behind it.
    lowered = "".join(low if len(low := character.lower()) == 1 else character for character in text)
    found = []
    start = 0
    ends = [match.end() for match in _SENTENCE_END.finditer(lowered)]
    for end in (*ends, len(text)):
        marks = [mark for sentence in _sentences(lowered[start:end]) for mark in _remembered(sentence)]
        if any(character.isalpha() for character in lowered[start:end]):
            skipped = len(text[start:end]) - len(text[start:end].lstrip())
            named = {name: value for name, value in marks if name != OTHER}
            found.append(Mentions(start + skipped, end, named))
        start = end
    return found


class RuleLabeler:
    """The rules behind the labelers' common interface."""

    name = NAME

    def signature(self) -> str:
        """Return the labeler's name, version and vocabulary hash."""
        return signature()

    def label_many(self, texts: Iterable[str]) -> list[Labels]:
        """Label several texts, in their order."""
        return label_many(texts)


def _sentences(text: str) -> list[str]:
    lowered = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    parts = (" ".join(part.split()) for part in _SENTENCE_END.split(lowered))
    return [part for part in parts if any(character.isalpha() for character in part)]


def clear_cache() -> None:
    """Forget the sentences met before."""
    _remembered.cache_clear()


def _label_sentence(sentence: str) -> _Marks:
    names = {name for word in _WORD.findall(sentence) for name in _TRIGGERED.get(word[:_PREFIX], ())}
    marks: dict[str, LabelValue] = {}
    for name in names:
        normal, borderline = _NORMAL.get(name), _BORDERLINE.get(name)
        if normal is not None and normal.search(sentence):
            marks[name] = NEGATIVE
        if borderline is not None and borderline.search(sentence):
            marks[name] = UNCERTAIN
        pattern, excluded, weak = _MENTIONS[name], _NOT_MENTIONS.get(name), _WEAK.get(name)
        ignored = [match.span() for match in excluded.finditer(sentence)] if excluded else []
        for match in pattern.finditer(sentence):
            if not any(start < match.end() and match.start() < end for start, end in ignored):
                value = _assertion(sentence, match)
                if value == POSITIVE and weak is not None and weak.search(match.group()):
                    value = UNCERTAIN
                marks[name] = _stronger(marks.get(name), value)
    return frozenset((name, value) for name, value in marks.items() if value is not None)


_remembered = lru_cache(maxsize=65536)(_label_sentence)


def _assertion(sentence: str, mention: re.Match[str]) -> LabelValue:
    """Return whether a mention is asserted, denied or doubted."""
    before = sentence[max(0, mention.start() - _REACH) : mention.start()]
    ends = [end.end() for end in _SCOPE_END.finditer(before)]
    before = before[ends[-1] :] if ends else before
    after = sentence[mention.end() : mention.end() + _REACH]
    end = _SCOPE_END.search(after)
    after = after[: end.start()] if end else after
    own = mention.group()
    if _UNCERTAIN_BEFORE.search(before) or _UNCERTAIN_AFTER.search(after):
        return UNCERTAIN
    if (
        _NEGATION_BEFORE.search(_NOT_NEGATION.sub(" ", before))
        or _NEGATION_BEFORE.search(own)
        or _NEGATION_AFTER.search(after)
    ):
        return NEGATIVE
    return POSITIVE


def _stronger(first: LabelValue, second: LabelValue) -> LabelValue:
    order = (POSITIVE, UNCERTAIN, NEGATIVE, None)
    return first if order.index(first) <= order.index(second) else second
