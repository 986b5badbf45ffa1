"""What every LLM-written answer must pass before it becomes a target, whatever its task.

All checks are pure functions of text, so the same answer gets the same verdict in every build. What is removed from an
answer (a preamble, quotation marks around the whole) is noted as a flag; what is wrong with it is a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PREAMBLE = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|absolutely|here(?:'s| is| are)|below is)[^\n:]{0,120}"
    r"|(?:the )?(?:corrected |revised |updated |edited )?(?:report|findings|summary|explanation|answer)):\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)"
    r"|i (?:cannot|can't|can not|won't) (?:help|assist|provide|answer|comply|do|give|interpret|diagnose)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)"
    r"|i(?:'m| am) (?:just |only )?an? (?:ai|language model)"
    r"|i do(?:n't| not) have (?:access|the ability|enough information)"
    r"|consult (?:a|your) (?:doctor|physician|healthcare))",
    re.IGNORECASE,
)
_IDENTIFIER_MARK = re.compile(r"_{2,}|\bx{3,}\b|\[\s*\*\*|\*\*\s*\]|\[(?:name|date|patient)[^\]]*\]", re.IGNORECASE)
_ROLE_MARK = re.compile(
    r"<\|[a-z_]+\|>|</?s>|\[/?INST\]|<</?SYS>>|^\s*(?:user|assistant|system|human)\s*:", re.IGNORECASE | re.MULTILINE
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ENGLISH_WORDS = (
    "the a an of in on to and or is are was were be been no not there this that it with without for from by at as which"
    " your you we have has may can"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_COPIED_WORDS = 12
"""So many words in a row from the prompt's own instructions are a copy of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an answer.

    Attributes:
        text: The answer without preamble and enclosing marks.
        reasons: Why it is rejected; none when it is accepted.
        flags: What was noted or removed.
    """

    text: str
    reasons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the answer may become a target."""
        return not self.reasons

    def because(self, *reasons: str) -> Verdict:
        """Return the verdict with further reasons against the answer."""
        return Verdict(self.text, (*self.reasons, *reasons), self.flags)

    def noting(self, *flags: str) -> Verdict:
        """Return the verdict with further flags."""
        return Verdict(self.text, self.reasons, (*self.flags, *flags))


def check_text(text: str, instructions: str, *, min_words: int, max_words: int) -> Verdict:
    """Check an answer as text.

    Args:
        text: The answer as it came.
        instructions: What the prompt says beside the report: a long run of its words in the answer is a copy.
        min_words: Fewest words.
        max_words: Most words.
    """
    cleaned, flags = clean(text)
    words = _WORD.findall(cleaned.lower())
    reasons = [
        reason
        for reason, found in (
            ("empty", not words),
            ("too short", 0 < len(words) < min_words),
            ("too long", len(words) > max_words),
            ("refusal", _REFUSAL.search(cleaned) is not None),
            ("de-identification mark", _IDENTIFIER_MARK.search(cleaned) is not None),
            ("role marker", _ROLE_MARK.search(cleaned) is not None),
            ("not English", not is_english(cleaned)),
            ("copies the prompt", copies(cleaned, instructions, _COPIED_WORDS)),
            ("repeats itself", repeats_itself(words)),
        )
        if found
    ]
    return Verdict(cleaned, tuple(reasons), flags)


def clean(text: str) -> tuple[str, tuple[str, ...]]:
    """Remove a preamble ("Here is the report:") and quotation marks around the whole; return text and flags."""
    flags = []
    stripped = text.strip()
    without = _PREAMBLE.sub("", stripped, count=1).strip()
    if without and without != stripped:
        stripped = without
        flags.append("preamble removed")
    if len(stripped) > 1 and (stripped[0], stripped[-1]) in _QUOTES and stripped[0] not in stripped[1:-1]:
        stripped = stripped[1:-1].strip()
        flags.append("quotes removed")
    return stripped, tuple(flags)


def is_english(text: str) -> bool:
    """Tell whether a text reads as English: Latin letters, and function words in a text of ten words or more."""
    letters = [c for c in text if c.isalpha()]
    if letters and sum(c < "\u0250" for c in letters) < 0.95 * len(letters):
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    return len(words) < 10 or sum(word in _ENGLISH for word in words) >= 0.08 * len(words)


def copies(text: str, other: str, n: int) -> bool:
    """Tell whether a text shares a run of n words with another one."""
    return bool(_runs(text, n) & _runs(other, n))


def overlap(text: str, other: str, n: int = 4) -> float:
    """Return the share of a text's runs of n words that stand in another one; 0 for a shorter text."""
    runs = _runs(text, n)
    return len(runs & _runs(other, n)) / len(runs) if runs else 0.0


def repeats_itself(words: list[str]) -> bool:
    """Tell whether a run of six words comes four times: a small model in a loop."""
    runs: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - 5):
        run = tuple(words[start : start + 6])
        runs[run] = runs.get(run, 0) + 1
    return max(runs.values(), default=0) >= 4


def _runs(text: str, n: int) -> set[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


_QUOTES = {('"', '"'), ("“", "”"), ("'", "'"), ("`", "`")}
