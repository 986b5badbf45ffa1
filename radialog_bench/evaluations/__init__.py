"""The evaluations, each written as the conversation it is."""

from __future__ import annotations

from radialog_bench.evaluations.base import Conversation, EvalSample, Evaluation, LeftOut, Options
from radialog_bench.evaluations.correction import Correction
from radialog_bench.evaluations.findings_qa import FindingsQA
from radialog_bench.evaluations.impression import Impression
from radialog_bench.evaluations.rad_restruct import RadReStruct
from radialog_bench.evaluations.report_generation import ReportGeneration
from radialog_bench.evaluations.view_classification import ViewClassification

EVALUATIONS: tuple[type[Evaluation], ...] = (
    ReportGeneration,
    Correction,
    FindingsQA,
    RadReStruct,
    Impression,
    ViewClassification,
)
EVALUATION_NAMES: tuple[str, ...] = tuple(kind.name for kind in EVALUATIONS)

__all__ = ["EVALUATIONS", "EVALUATION_NAMES", "Conversation", "EvalSample", "Evaluation", "LeftOut", "Options"]
