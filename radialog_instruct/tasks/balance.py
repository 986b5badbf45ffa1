"""The yes/no balance of binary questions: which questions are kept, decided for the whole source before any is written.

Most findings are absent from most studies, so asking every class of every image gives a dataset that says "no". The
paper is silent on the balance; the default here is one half "yes" for each class and split, as exactly as the data
allow. Of each class the scarcer answer is kept whole and the other one is thinned to the smallest ranks, so the choice
depends on ids and seed alone.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from radialog_instruct.ids import rank
from radialog_instruct.records import Image, Split, Study

Key = tuple[Split, str, bool]
"""Split, finding, and whether the answer is yes."""


@dataclass(frozen=True, slots=True)
class Balance:
    """The largest rank that is kept, by split, finding and answer; a key that is absent keeps every question."""

    thresholds: Mapping[Key, int] = field(default_factory=dict)

    def keeps(self, split: Split, finding: str, answer: bool, question_rank: int) -> bool:
        """Tell whether a question is kept."""
        limit = self.thresholds.get((split, finding, answer))
        return limit is None or question_rank <= limit


def question_rank(seed: int, study: Study, image: Image | None, finding: str) -> int:
    """Return the rank by which a binary question is kept or dropped."""
    image_id = image.image_id if image is not None else ""
    return rank(seed, "findings_qa_binary", study.source, study.study_id, image_id, finding, "select")


class BalanceCounter:
    """Collects the ranks of all possible questions, then sets the thresholds.

    Memory: eight bytes a question.

    Args:
        yes_fraction: Wanted share of "yes" within each class and split, in (0, 1).
    """

    def __init__(self, yes_fraction: float = 0.5) -> None:
        self._yes_fraction = yes_fraction
        self._ranks: defaultdict[Key, array[int]] = defaultdict(lambda: array("Q"))

    def add(self, split: Split, finding: str, answer: bool, question_rank: int) -> None:
        """Count one possible question."""
        self._ranks[split, finding, answer].append(question_rank)

    def balance(self) -> Balance:
        """Return the thresholds that reach the wanted share with the most questions."""
        thresholds: dict[Key, int] = {}
        for split, finding in {(split, finding) for split, finding, _ in self._ranks}:
            n_yes = len(self._ranks[split, finding, True])
            n_no = len(self._ranks[split, finding, False])
            share = self._yes_fraction
            keep_yes = min(n_yes, int(n_no * share / (1 - share)))
            keep_no = min(n_no, round(keep_yes * (1 - share) / share))
            for answer, keep in ((True, keep_yes), (False, keep_no)):
                thresholds[split, finding, answer] = _kth_smallest(self._ranks[split, finding, answer], keep)
        return Balance(thresholds)


def _kth_smallest(ranks: array[int], k: int) -> int:
    if k == 0:
        return -1
    values = np.frombuffer(ranks, dtype=np.uint64)
    return int(np.partition(values, k - 1)[k - 1])
