"""Prints a few samples of each task as chats."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from radialog_instruct.build.engine import open_reader
from radialog_instruct.build.shards import build_tasks
from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.errors import DataError
from radialog_instruct.records import Sample, Study
from radialog_instruct.sources import Reader
from radialog_instruct.tasks import Task


def print_preview(config: BuildConfig, places: BuildPlaces, n: int, study_id: str | None) -> None:
    """Print the first n samples of each task as chats; shares and balances are not applied.

    Args:
        config: What would be built.
        places: Where it is read.
        n: Samples a task.
        study_id: Only this study, or None for the source's first ones.

    Raises:
        DataError: If the source cannot be read or has no such study.
        UsageError: If a template fails.
    """
    reader = open_reader(config, places)
    console = Console(highlight=False)
    for task in build_tasks(config, places):
        samples = list(islice(_samples(task, reader, config.source, study_id), n))
        for sample in samples:
            console.print(_chat(sample))
        if not samples:
            console.print(f"{task.name}: the source has no sample of this task")


def _samples(task: Task, reader: Reader, source: str, study_id: str | None) -> Iterator[Sample]:
    seen = False
    for study in reader.studies():
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
    if sample.ask is not None and sample.generator is None:
        body.append("ASSISTANT: ", style="bold green").append("(written by an LLM, which is asked:)\n", style="italic")
        for turn in sample.ask.messages:
            body.append(f"{turn.role}: ", style="bold magenta").append(f"{turn.content}\n")
    body.rstrip()
    return Panel(body, title=f"{sample.task} ({sample.template.template_id})", subtitle=_origin(sample.study, sample))


def _origin(study: Study, sample: Sample) -> str:
    image = sample.image.path if sample.image else "no image"
    return f"{study.source} {study.study_id}, {sample.split.value}, {image}"
