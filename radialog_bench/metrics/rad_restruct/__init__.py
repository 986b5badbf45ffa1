"""Rad-ReStruct: completes, matches and scores the answer vectors of structured reports."""

from __future__ import annotations

from radialog_bench.metrics.rad_restruct.complete import NOT_ASKED, complete
from radialog_bench.metrics.rad_restruct.layout import Layout, find_layout, load_layout
from radialog_bench.metrics.rad_restruct.matching import match_instances
from radialog_bench.metrics.rad_restruct.score import LevelScores, RadReStructScores, score

__all__ = [
    "NOT_ASKED",
    "Layout",
    "LevelScores",
    "RadReStructScores",
    "complete",
    "find_layout",
    "load_layout",
    "match_instances",
    "score",
]
