"""Checks for leaks: between splits, and from the answer into the prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from radialog_instruct.build.manifest import SPLITS_NAME
from radialog_instruct.check.results import CheckResult
from radialog_instruct.check.rows import CheckedRow
from radialog_instruct.tasks import TASKS, Overlap

if TYPE_CHECKING:
    import pyarrow as pa

_STRENGTH = {"train": 0, "validation": 1, "test": 2}
_DECLARED = {task.name: task.answer_may_stand_in for task in TASKS}


class PatientInOneSplit:
    """A patient stands in one split over all tasks.

    Args:
        overlap: The build's overlap policy; ``paper`` lets tasks differ, which is counted.
    """

    def __init__(self, overlap: Overlap) -> None:
        self.result = CheckResult("patients", "Does every patient stand in one split over all tasks and sources?")
        self._declared = overlap is Overlap.PAPER
        self._split_of: dict[tuple[str, str], str] = {}

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        key = row.source, row.subject_id
        first = self._split_of.setdefault(key, row.split)
        if first != row.split:
            if self._declared:
                self.result.count("rows of patients in several splits, declared by overlap=paper")
            else:
                self.result.fail(f"{row.where}: patient {row.subject_id} in {row.split}, elsewhere in {first}")

    def finish(self) -> None:
        """Count the patients."""
        self.result.checked = len(self._split_of)


class OfficialSplits:
    """Rows keep to the official splits: none stands outside its own, and no test study anywhere trains.

    Args:
        folder: The dataset.
        overlap: The build's overlap policy.
    """

    def __init__(self, folder: Path, overlap: Overlap) -> None:
        self.result = CheckResult("official splits", "Does every row keep to the official splits of its study?")
        self._declared = overlap is Overlap.PAPER
        self._official = _official_splits(folder / SPLITS_NAME)

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        self.result.checked += 1
        official = self._official.get((row.source, row.study_id))
        if official is None:
            self.result.fail(f"{row.where}: study {row.study_id} is not in {SPLITS_NAME}")
            return
        strongest = max(official, key=lambda split: _STRENGTH.get(split, 0))
        if row.split not in official:
            self.result.fail(f"{row.where}: in {row.split}, official is {' and '.join(sorted(official))}")
        elif row.split != strongest and not self._declared:
            self.result.fail(
                f"{row.where}: in {row.split}, but study {row.study_id} is in an official {strongest} split"
            )
        elif row.split != strongest:
            self.result.count(
                f"{row.split} rows of studies in an official {strongest} split, declared by overlap=paper"
            )

    def finish(self) -> None:
        """Nothing is left to do."""


class AnswerInPrompt:
    """The answer does not stand in the prompt, but where the task declares it."""

    def __init__(self) -> None:
        self.result = CheckResult("answers", "Does the answer stand in the prompt only where the task declares it?")

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        self.result.checked += 1
        answer = _plain(row.answer)
        if not answer:
            return
        declared = _DECLARED.get(row.task, frozenset())
        for index, content in enumerate(row.contents[:-1]):
            place = _place(row, index)
            if answer in _plain(content):
                if place in declared:
                    self.result.count(f"{row.task}: answer in its {place}, as declared")
                else:
                    self.result.fail(f"{row.where}: the answer stands in the {place} (turn {index})")

    def finish(self) -> None:
        """Nothing is left to do."""


class RepeatedText:
    """Reports of held-out splits that stand in train too, word for word or nearly.

    Normal reports repeat between patients, so this is counted and does not fail. Near means that at least 80 % of the
    five-word shingles of both texts together are common to both. Only the shingles of held-out reports are kept.
    """

    def __init__(self) -> None:
        self.result = CheckResult("repeated reports", "How many held-out reports stand in train too?")
        self._held_out: dict[str, int] = {}
        self._by_shingle: dict[int, list[int]] = {}
        self._sizes: list[int] = []
        self._train: set[str] = set()

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        text = row.answer if row.task == "report_generation" else _report(row)
        if not text:
            return
        plain = _plain(text)
        if row.split == "train":
            self._train.add(plain)
        elif plain not in self._held_out:
            number = self._held_out[plain] = len(self._sizes)
            shingles = _shingles(plain)
            self._sizes.append(len(shingles))
            for shingle in shingles:
                self._by_shingle.setdefault(shingle, []).append(number)

    def finish(self) -> None:
        """Compare every report of train with the held-out ones that share a shingle."""
        self.result.checked = len(self._held_out)
        exact = {number for text, number in self._held_out.items() if text in self._train}
        near: set[int] = set()
        for text in self._train:
            shingles = _shingles(text)
            common: dict[int, int] = {}
            for shingle in shingles:
                for number in self._by_shingle.get(shingle, ()):
                    common[number] = common.get(number, 0) + 1
            for number, n in common.items():
                if n >= _NEAR * (len(shingles) + self._sizes[number] - n):
                    near.add(number)
        self.result.count("distinct held-out reports that stand word for word in train", len(exact))
        self.result.count("distinct held-out reports that nearly stand in train (Jaccard of 0.8)", len(near - exact))


_NEAR = 0.8
_WORD = re.compile(r"\w+")


def _plain(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.lower()))} " if text else ""


def _shingles(plain: str, size: int = 5) -> set[int]:
    words = plain.split()
    if len(words) <= size:
        return {hash(tuple(words))}
    return {hash(tuple(words[start : start + size])) for start in range(len(words) - size + 1)}


def _report(row: CheckedRow) -> str:
    if row.report_turn is None or row.context != "full" or row.report_turn >= len(row.contents):
        return ""
    return row.contents[row.report_turn]


def _place(row: CheckedRow, index: int) -> str:
    if index == row.report_turn:
        return "report"
    return "instruction" if index == len(row.contents) - 2 else "history"


def _official_splits(path: Path) -> Mapping[tuple[str, str], frozenset[str]]:
    import pyarrow.parquet as pq

    if not path.is_file():
        return {}
    table: pa.Table = pq.read_table(path)
    splits: dict[tuple[str, str], frozenset[str]] = {}
    shared: dict[frozenset[str], frozenset[str]] = {}
    columns = (table[name].to_pylist() for name in ("source", "study_id", "split"))
    for source, study, split in zip(*columns, strict=True):
        found = splits.get((source, study), frozenset()) | {split}
        splits[source, study] = shared.setdefault(found, found)
    return splits
