"""Structured findings of an image: the head on the tower's features, and the stand-alone extractor."""

from __future__ import annotations

from radialog_model.findings.head import FindingsHead
from radialog_model.findings.thresholds import names_above, tune_thresholds

__all__ = ["FindingsHead", "names_above", "tune_thresholds"]
