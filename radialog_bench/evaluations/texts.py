"""Scores that several evaluations share: texts against texts, and the findings a labeler reads in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from radialog_bench.metrics import clinical_metrics, per_class_table
from radialog_bench.metrics.texts import open_text_metrics
from radialog_bench.sheet import Sheet
from radialog_instruct.findings import Labels, findings_text, positives

SHOWN = ("bleu4", "rouge_l", "meteor", "bertscore", "ce_samples_f1")
"""Metrics that mean something for one sample."""


def score_texts(
    sheet: Sheet, answers: Sequence[str], references: Sequence[str], prefix: str = "", n_error: int | None = None
) -> None:
    """Score texts by their words.

    Args:
        sheet: Is filled in.
        answers: One text a sample; a failed one is empty.
        references: One text a sample.
        prefix: Stands before the metrics' names.
        n_error: Samples whose text failed; None takes all samples that failed somewhere.
    """
    ready, missing = open_text_metrics(sheet.settings.texts)
    for metric in ready:
        named = replace(metric, name=prefix + metric.name)
        sheet.add(named, answers, references, shown=metric.name in SHOWN, n_error=n_error)
    for metric, reason in missing:
        sheet.unavailable([replace(metric, name=prefix + metric.name)], reason)


def score_findings(
    sheet: Sheet, answers: Sequence[str], references: Sequence[str], prefix: str = "", n_error: int | None = None
) -> tuple[list[Labels], list[Labels]] | None:
    """Score the findings that the run's labeler reads in texts; without a labeler the metrics are null.

    Args:
        sheet: Is filled in.
        answers: One text a sample.
        references: One text a sample.
        prefix: Stands before the metrics' names.
        n_error: Samples whose text failed; None takes all samples that failed somewhere.

    Returns:
        Labels of the answers and of the references, or None without a labeler.
    """
    labeler = sheet.settings.labeler
    metrics = [replace(metric, name=prefix + metric.name) for metric in clinical_metrics(labeler.signature)]
    if labeler.label_many is None:
        sheet.unavailable(metrics, labeler.reason)
        return None
    guesses, truths = labeler.label_many(answers), labeler.label_many(references)
    for metric in metrics:
        sheet.add(metric, guesses, truths, shown=metric.name.removeprefix(prefix) in SHOWN, n_error=n_error)
    if guesses:
        sheet.tables[f"{prefix}per_class"] = per_class_table(guesses, truths)
    sheet.parsed, sheet.reference_parsed = label_texts(guesses), label_texts(truths)
    return guesses, truths


def label_texts(labels: Sequence[Labels]) -> list[str | None]:
    """Return the positive findings of each sample as text."""
    return [findings_text(positives(row)) for row in labels]
