"""The tasks of RaDialog-Instruct; a new one is a module, a template and an entry here."""

from __future__ import annotations

from radialog_instruct.tasks.base import Overlap, Skip, Slot, Task, TaskContext
from radialog_instruct.tasks.explanation import Explanation
from radialog_instruct.tasks.findings_qa import FindingsQABinary, FindingsQAComplete
from radialog_instruct.tasks.impression import Impression
from radialog_instruct.tasks.rad_restruct_qa import RadReStructQA
from radialog_instruct.tasks.report_generation import ReportGeneration
from radialog_instruct.tasks.view_classification import ViewClassification

TASKS: tuple[type[Task], ...] = (
    ReportGeneration,
    Impression,
    FindingsQAComplete,
    FindingsQABinary,
    RadReStructQA,
    Explanation,
    ViewClassification,
)

__all__ = ["TASKS", "Overlap", "Skip", "Slot", "Task", "TaskContext"]
