"""Structured findings of an image: the head on the tower's features, and the stand-alone extractor."""

from __future__ import annotations

from radialog_model.findings.extractor import FindingsExtractor
from radialog_model.findings.head import FindingsHead, TowerFindings
from radialog_model.findings.model import FindingsConfig, FindingsModel
from radialog_model.findings.predictor import FindingsPredictor
from radialog_model.findings.thresholds import names_above, tune_thresholds

__all__ = [
    "FindingsConfig",
    "FindingsExtractor",
    "FindingsHead",
    "FindingsModel",
    "FindingsPredictor",
    "TowerFindings",
    "names_above",
    "tune_thresholds",
]
