"""The metric of generated text: CE macro F1 of the reports a model writes for validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaProcessor

from radialog_instruct.findings import FINDINGS, POSITIVE
from radialog_instruct.ids import rank
from radialog_instruct.labeling.rules import label_many
from radialog_instruct.sources.images import load_image
from radialog_model.checkpoint import Checkpoint
from radialog_model.data.rows import Row
from radialog_model.generate import Question, answer
from radialog_model.lora import unwrapped
from radialog_model.training.features import pixels_again

REPORT = "report_generation"


@dataclass
class ReportMetric:
    """Writes reports for validation images and compares what they assert with what the references assert.

    Attributes:
        rows: Rows of the report task.
        processor: The processor.
        root: Folder that image paths are relative to.
        findings: Image path -> findings text of the prompt; None for prompts without one.
        image: Whether prompts have an image.
        batch_size: Reports written side by side.
        max_new_tokens: Most tokens of a report.
    """

    rows: Sequence[Row]
    processor: LlavaProcessor
    root: Path
    findings: Mapping[str, str] | None = None
    image: bool = True
    batch_size: int = 16
    max_new_tokens: int = 300
    _reference: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, model: Any) -> Mapping[str, float]:
        """Return ``ce_macro_f1`` over the 14 classes, uncertain and blank counted as absent.

        Args:
            model: The model in training, with adapters or without.
        """
        inner = unwrapped(model)
        training = model.training
        model.eval()
        checkpoint = Checkpoint(inner, self.processor, None, (), "")
        texts: list[str] = []
        with torch.no_grad(), pixels_again(inner):
            for start in range(0, len(self.rows), self.batch_size):
                rows = self.rows[start : start + self.batch_size]
                questions = [self._question(row) for row in rows]
                texts += [a.text for a in answer(checkpoint, questions, max_new_tokens=self.max_new_tokens)]
        model.train(training)
        if not self._reference:
            self._reference = positives([row.turns[-1].content for row in self.rows])
        return {"ce_macro_f1": macro_f1(positives(texts), self._reference)}

    def _question(self, row: Row) -> Question:
        image = load_image(self.root / row.image) if self.image else None
        return Question(row.turns[:-1], REPORT, image, None if self.findings is None else self.findings[row.image])


def choose_reports(rows: Sequence[Row], n: int, seed: int) -> list[Row]:
    """Return ``n`` rows of the report task, the same in every run.

    Args:
        rows: Validation rows of all tasks.
        n: Most rows.
        seed: Seed of the choice.
    """
    reports = [row for row in rows if row.task == REPORT]
    return sorted(reports, key=lambda row: rank(seed, "generation metric", row.id))[:n]


def positives(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return for each text 14 zeros and ones: what the rule labeler finds asserted."""
    return [tuple(int(value == POSITIVE) for value in labels) for labels in label_many(texts)]


def macro_f1(predicted: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> float:
    """Return the mean of the classes' F1; a class that neither side has counts 0, as in scikit-learn.

    Args:
        predicted: [n, 14] of zeros and ones.
        reference: [n, 14] of zeros and ones.
    """
    scores = []
    for index in range(len(FINDINGS)):
        pairs = [(p[index], r[index]) for p, r in zip(predicted, reference, strict=True)]
        both = sum(p and r for p, r in pairs)
        either = sum(p + r for p, r in pairs)
        scores.append(2 * both / either if either else 0.0)
    return sum(scores) / len(scores)
