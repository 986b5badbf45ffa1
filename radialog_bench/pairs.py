"""Reads a file of predictions and references, so that texts made anywhere can be scored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radialog_instruct.errors import DataError
from radialog_instruct.records import Sections, Split, Study, Terms
from radialog_instruct.sources.base import KeepSubject, fold

SOURCE = "pairs"
KEYS = ("id", "prediction", "reference", "subject_id", "study_id")
FORM = 'each line is {"id": ..., "prediction": ..., "reference": ...}, with subject_id and study_id where known'


@dataclass(frozen=True)
class TextPair:
    """A line of the file.

    Attributes:
        id: Its id.
        prediction: The text that is scored, or None where there is none: a failure of the kind "missing".
        reference: The text it is held against.
        study_id: Its study; the id where the file names none.
        subject_id: Its patient; the study where the file names none.
    """

    id: str
    prediction: str | None
    reference: str
    study_id: str
    subject_id: str

    def study(self) -> Study:
        """Return the study it belongs to; the terms of a text from anywhere are unknown, so they are the strictest."""
        sections = Sections(findings=self.reference)
        return Study(SOURCE, self.study_id, self.subject_id, Split.TEST, Terms.CREDENTIALED, (), sections)


@dataclass
class PairFile:
    """The pairs of a file, as a source of studies.

    Attributes:
        root: The file.
        pairs: Its lines.
        unused: Keys that mean nothing here -> how many lines have them.
    """

    root: Path
    pairs: tuple[TextPair, ...]
    unused: Counter[str]
    name: str = SOURCE
    terms: Terms = Terms.CREDENTIALED
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the study of each pair."""
        for pair in self.pairs:
            if keep is None or keep(pair.subject_id):
                yield pair.study()

    def inputs(self) -> tuple[Path, ...]:
        """Return the file."""
        return (self.root,)

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return what could not be used: nothing, for a bad line is an error."""
        return self.rejected, self.notes


def read_pairs(path: Path) -> PairFile:
    """Read a file of pairs.

    Args:
        path: JSON lines, each with id, prediction and reference, and subject_id and study_id where they are known.

    Raises:
        DataError: If the file cannot be read or holds nothing, or a line is damaged, incomplete or repeats an id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the pairs ({error})", where=str(path), mend="give a JSON lines file") from error
    pairs: dict[str, TextPair] = {}
    unused: Counter[str] = Counter()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        record = _record(line, where)
        pair = _pair(record, where)
        if pair.id in pairs:
            raise DataError(f"the id {pair.id!r} occurs twice", where=where, mend="give each pair an id of its own")
        pairs[pair.id] = pair
        unused.update(record.keys() - set(KEYS))
    if not pairs:
        raise DataError("no pair here", where=str(path), mend=FORM)
    return PairFile(path, tuple(pairs.values()), unused)


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON ({error})", where=where, mend=FORM) from error
    if not isinstance(record, dict):
        raise DataError(f"a {type(record).__name__} instead of an object", where=where, mend=FORM)
    return record


def _encodable(text: str, key: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{key} is not valid Unicode ({error.reason})", where=where, mend=FORM) from error
    return text


def _pair(record: dict[str, Any], where: str) -> TextPair:
    def text(key: str, default: str | None = None) -> str:
        value = record.get(key)
        value = default if value is None else str(value) if type(value) is int and key != "reference" else value
        if not isinstance(value, str) or not value.strip():
            what = "is missing" if record.get(key) is None else f"is {record[key]!r}"
            raise DataError(f"{key} {what}; a text is needed", where=where, mend=FORM)
        return _encodable(value, key, where)

    prediction = record.get("prediction")
    if "prediction" not in record or not isinstance(prediction, str | None):
        raise DataError("prediction must be a text, or null where there is none", where=where, mend=FORM)
    name = text("id")
    study = text("study_id", name)
    reference = fold(text("reference")) or ""
    return TextPair(name, prediction, reference, study, text("subject_id", study))
