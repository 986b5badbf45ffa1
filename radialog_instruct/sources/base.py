"""What a reader is: it yields the studies of one source, lazily and in an order of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from radialog_instruct.findings import Labels
from radialog_instruct.ids import rank
from radialog_instruct.labeling import rules
from radialog_instruct.records import Sections, Split, Study, Terms

KeepSubject = Callable[[str], bool]
"""Tells whether a patient is wanted; asked before the expensive part of reading."""


class Reader(Protocol):
    """A source of studies; it can be pickled, so that several processes read it.

    Attributes:
        name: Name of the source.
        terms: What its licence allows.
        root: Folder that ``inputs`` lie in.
        rejected: What the last pass could not use of the wanted patients, by reason.
        notes: What a user should know about the last pass, by remark, for example studies outside the split file.
    """

    name: str
    terms: Terms
    root: Path
    rejected: Counter[str]
    notes: Counter[str]

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the studies of all patients, or of the wanted ones, in an order no file listing changes.

        Raises:
            DataError: If a file is missing, damaged or contradictory; it names file and row or id.
        """
        ...

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return what the files as a whole had rejected and remarked, beside what single passes count."""
        ...

    def inputs(self) -> tuple[Path, ...]:
        """Return the files and folders that studies are read from, without the images."""
        ...


def fold(text: str | None) -> str | None:
    """Fold newlines and runs of blanks to single blanks; an empty text becomes None."""
    return " ".join(text.split()) or None if text else None


def rule_labels(sections: Sections) -> Labels:
    """Label a report's findings and impression by the rule labeler."""
    return rules.label(f"{sections.findings or ''}\n\n{sections.impression or ''}")


def hashed_split(subject_id: str, purpose: str) -> Split:
    """Return a split for a patient of a source without an official one: 70, 10 and 20 of 100 by hash.

    Args:
        subject_id: The patient.
        purpose: Keeps the splits of different sources independent.
    """
    percent = rank(0, purpose, subject_id) % 100
    return Split.TRAIN if percent < 70 else Split.VALIDATION if percent < 80 else Split.TEST
