"""The tasks of RaDialog-Instruct; a new one is a module, a template and an entry here."""

from __future__ import annotations

from radialog_instruct.tasks.base import Overlap, Skip, Slot, Task, TaskContext
from radialog_instruct.tasks.correction import Correction
from radialog_instruct.tasks.easy_language import EasyLanguage
from radialog_instruct.tasks.explanation import Explanation
from radialog_instruct.tasks.findings_qa import FindingsQABinary, FindingsQAComplete
from radialog_instruct.tasks.impression import Impression
from radialog_instruct.tasks.rad_restruct_qa import RadReStructQA
from radialog_instruct.tasks.region_qa import RegionQA
from radialog_instruct.tasks.replayed import ReplayTask
from radialog_instruct.tasks.report_generation import ReportGeneration
from radialog_instruct.tasks.summarization import Summarization
from radialog_instruct.tasks.view_classification import ViewClassification

TASKS: tuple[type[Task], ...] = (
    ReportGeneration,
    Impression,
    FindingsQAComplete,
    FindingsQABinary,
    RadReStructQA,
    Explanation,
    ViewClassification,
    Correction,
    Summarization,
    EasyLanguage,
    RegionQA,
)
REPLAY_TASKS: tuple[str, ...] = tuple(task.name for task in TASKS if issubclass(task, ReplayTask))
"""Names of the tasks whose answers an LLM writes."""

__all__ = ["REPLAY_TASKS", "TASKS", "Overlap", "ReplayTask", "Skip", "Slot", "Task", "TaskContext"]
