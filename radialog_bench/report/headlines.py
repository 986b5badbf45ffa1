"""The one metric of an evaluation that a glance should fall on."""

from __future__ import annotations

from collections.abc import Mapping

from radialog_bench.results import MetricResult

HEADLINES: dict[str, tuple[str, ...]] = {
    "report_generation": ("ce_macro_f1", "bleu4"),
    "correction": ("ce_macro_f1_delta", "ce_macro_f1"),
    "findings_qa": ("binary_macro_f1", "complete_macro_f1"),
    "rad_restruct": ("official_f1", "f1"),
    "impression": ("rouge_l", "bleu4"),
    "view_classification": ("macro_f1", "accuracy"),
}
"""Evaluation -> its metrics of the paper's tables, the first that has a value is taken."""


def headline_of(evaluation: str, metrics: Mapping[str, MetricResult]) -> str | None:
    """Return the name of an evaluation's headline metric; None if it has no metric at all."""
    wanted = [name for name in HEADLINES.get(evaluation, ()) if name in metrics]
    with_value = [name for name in (*wanted, *metrics) if metrics[name].value is not None]
    return next(iter((*with_value, *wanted, *metrics)), None)
