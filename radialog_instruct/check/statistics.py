"""Statistics of a dataset for its report: counts and distributions, never a text."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from radialog_instruct.check.rows import CheckedRow
from radialog_instruct.findings import FINDINGS

MAX_WORDS = 200
"""Longer answers are counted at this length."""


@dataclass
class Statistics:
    """What the report shows of the rows.

    Attributes:
        answer_words: Task -> words in the answer -> rows.
        prompt_words: Task -> words in everything before the answer -> rows, in steps of ten.
        turns: Task -> number of messages -> rows.
        templates: Task (and family, where it has some) -> variant -> rows.
        labels: Class -> label value or None -> rows.
        answers: Task -> short answer -> rows, for tasks whose answers are few.
    """

    answer_words: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    prompt_words: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    turns: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    templates: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    labels: defaultdict[str, Counter[int | None]] = field(default_factory=lambda: defaultdict(Counter))
    answers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def see(self, row: CheckedRow) -> None:
        """Count a row."""
        task = row.task
        self.answer_words[task][min(len(row.answer.split()), MAX_WORDS)] += 1
        prompt = sum(len(text.split()) for text in row.contents[:-1])
        self.prompt_words[task][prompt // 10 * 10] += 1
        self.turns[task][len(row.contents)] += 1
        family, _, variant = row.template_id.rpartition("/")[2].rpartition("_")
        self.templates[f"{task}, {family}" if family else task][variant] += 1
        if row.labels is not None:
            for name, value in zip(FINDINGS, row.labels, strict=False):
                self.labels[name][value] += 1
        if task in _SHORT_ANSWERS:
            self.answers[task][row.answer] += 1


_SHORT_ANSWERS = ("findings_qa_binary", "view_classification")
