"""The report page of a run."""

from __future__ import annotations

from radialog_bench.report.page import write_report

__all__ = ["write_report"]
