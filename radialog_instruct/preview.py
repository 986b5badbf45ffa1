"""Prints a few samples of each task as chats."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from radialog_instruct.errors import DataError
from radialog_instruct.prompts import PromptLibrary
from radialog_instruct.records import Sample, Study
from radialog_instruct.sources import open_source
from radialog_instruct.tasks import TASKS, Task, TaskContext


def print_preview(
    source: str,
    root: Path | None,
    tasks: tuple[str, ...],
    n: int,
    study_id: str | None,
    seed: int,
    labeler: str,
    templates: Path | None,
) -> None:
    """Print the first n samples of each task as chats.

    Args:
        source: Name of the source.
        root: Its root folder, or None for the embedded demo.
        tasks: Names of the tasks.
        n: Samples a task.
        study_id: Only this study, or None for the source's first ones.
        seed: Seed of the variants.
        labeler: Name of the labeler.
        templates: Folder of templates, or None for the distribution's own.

    Raises:
        DataError: If the source cannot be read or has no such study.
        UsageError: If a template fails.
    """
    context = TaskContext(PromptLibrary(templates), seed, labeler)
    console = Console(highlight=False)
    for kind in TASKS:
        if kind.name not in tasks:
            continue
        samples = list(islice(_samples(kind(context), source, root, study_id), n))
        for sample in samples:
            console.print(_chat(sample))
        if not samples:
            console.print(f"{kind.name}: the source has no sample of this task")


def _samples(task: Task, source: str, root: Path | None, study_id: str | None) -> Iterator[Sample]:
    seen = False
    for study in open_source(source, root).studies():
        if study_id is not None and study.study_id != study_id:
            continue
        seen = True
        yield from (sample for sample in task.samples(study) if isinstance(sample, Sample))
    if not seen:
        raise DataError(f"no study {study_id!r}" if study_id else "the source has no study", where=source)


def _chat(sample: Sample) -> Panel:
    body = Text()
    for turn in sample.turns:
        speaker, style = ("USER", "bold cyan") if turn.role == "user" else ("ASSISTANT", "bold green")
        body.append(f"{speaker}: ", style=style).append(f"{turn.content}\n")
    body.rstrip()
    return Panel(body, title=f"{sample.task} ({sample.template.template_id})", subtitle=_origin(sample.study, sample))


def _origin(study: Study, sample: Sample) -> str:
    image = sample.image.path if sample.image else "no image"
    return f"{study.source} {study.study_id}, {study.split.value}, {image}"
