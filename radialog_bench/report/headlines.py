"""The one metric of an evaluation that a glance should fall on."""

from __future__ import annotations

from radialog_bench.results import EvaluationResult

HEADLINES: dict[str, tuple[str, ...]] = {
    "report_generation": ("ce_macro_f1", "bleu4"),
    "correction": ("ce_macro_f1_delta", "ce_macro_f1"),
    "findings_qa": ("binary_macro_f1", "complete_macro_f1"),
    "rad_restruct": ("official_f1", "f1"),
    "impression": ("rouge_l", "bleu4"),
    "view_classification": ("macro_f1", "accuracy"),
}
"""Evaluation -> its metrics of the paper's tables, the first that has a value is taken."""


def headline(result: EvaluationResult) -> str | None:
    """Return the name of an evaluation's headline metric; None if it has no metric at all."""
    wanted = [name for name in HEADLINES.get(result.evaluation, ()) if name in result.metrics]
    with_value = [name for name in (*wanted, *result.metrics) if result.metrics[name].value is not None]
    return next(iter((*with_value, *wanted, *result.metrics)), None)
