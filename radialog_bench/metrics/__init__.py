"""Metrics with signatures, as sufficient statistics."""

from __future__ import annotations

from radialog_bench.metrics.base import Metric, MetricError
from radialog_bench.metrics.bertscore import BertScoreSettings
from radialog_bench.metrics.classification import classification_metrics, confusion_table
from radialog_bench.metrics.clinical import clinical_metrics, per_class_table
from radialog_bench.metrics.lexical import lexical_metrics
from radialog_bench.metrics.protocols import PROTOCOLS
from radialog_bench.metrics.statistics import evaluate_metric, sample_scores, unavailable
from radialog_bench.metrics.texts import text_metrics

__all__ = [
    "PROTOCOLS",
    "BertScoreSettings",
    "Metric",
    "MetricError",
    "classification_metrics",
    "clinical_metrics",
    "confusion_table",
    "evaluate_metric",
    "lexical_metrics",
    "per_class_table",
    "sample_scores",
    "text_metrics",
    "unavailable",
]
