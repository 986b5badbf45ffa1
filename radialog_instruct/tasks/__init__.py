"""The tasks of RaDialog-Instruct; a new one is a module, a template and an entry here."""

from __future__ import annotations

from radialog_instruct.tasks.base import Skip, Task, TaskContext
from radialog_instruct.tasks.findings_qa import FindingsQABinary, FindingsQAComplete
from radialog_instruct.tasks.impression import Impression
from radialog_instruct.tasks.report_generation import ReportGeneration
from radialog_instruct.tasks.view_classification import ViewClassification

TASKS: tuple[type[Task], ...] = (
    ReportGeneration,
    Impression,
    FindingsQAComplete,
    FindingsQABinary,
    ViewClassification,
)

__all__ = ["TASKS", "Skip", "Task", "TaskContext"]
