"""What a run would ask: everything is loaded and checked, nothing is asked and nothing written."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialog_bench.chat import Request, Response
from radialog_bench.config import RunConfig
from radialog_bench.data import EvaluationData, load_data
from radialog_bench.dialog import All, Ask, Dialog, Effect, Label
from radialog_bench.labelers import Labeler, default_labeler, open_labeler
from radialog_bench.run import model_info, open_model, settled
from radialog_bench.run_folder import Job, check_folder, check_writable
from radialog_bench.watchdog import closed_in_time
from radialog_instruct.errors import ExitCode
from radialog_instruct.findings import make_labels

SHORTEST = "no"
"""The answer that leads to the fewest further questions."""


@dataclass(frozen=True)
class PlannedPart:
    """What an evaluation would do.

    Attributes:
        name: The evaluation.
        samples: Its samples.
        asks_at_least: Requests the model would get; answers other than "no" lead to more. A report that an earlier
            evaluation asks for is not asked again.
        images: Different images of these samples.
        images_present: Those whose file is there.
        left_out: What gives no sample, by reason.
    """

    name: str
    samples: int
    asks_at_least: int
    images: int
    images_present: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        model: Name of the model.
        labeler: Name of the labeler.
        labeler_missing: Why it is unavailable, or None.
        notices: What a reader of the numbers would be told.
        resumes: Whether the run folder holds this very run already.
        parts: The evaluations.
    """

    model: str
    labeler: str
    labeler_missing: str | None
    notices: tuple[str, ...]
    resumes: bool
    parts: tuple[PlannedPart, ...]

    @property
    def exit_code(self) -> ExitCode:
        """What the run itself could at best end with."""
        if not any(part.samples for part in self.parts):
            return ExitCode.NOTHING_SCORED
        return ExitCode.COMPLETE if self.labeler_missing is None else ExitCode.FAILED_SAMPLES


def plan_run(config: RunConfig, output: Path | None) -> Plan:
    """Load and check everything a run needs, and count what it would ask.

    Args:
        config: The run.
        output: The run folder, or None.

    Raises:
        RadialogError: Whatever the run itself would raise before it asks the model.
    """
    adapter = open_model(config)
    try:
        data = load_data(config, adapter)
        config = settled(config, data)
        labeler = open_labeler(config.labeler or default_labeler(data.info.source), config.chexbert, config.vocabulary)
        job = Job(config, adapter, model_info(adapter, config), data, labeler)
        earlier = check_folder(output, job) if output is not None and output.exists() else None
        if output is not None and not output.exists():
            check_writable(output)
        asked: set[str] = set()
        return Plan(
            model=adapter.name,
            labeler=labeler.name,
            labeler_missing=None if labeler.label_many is not None else labeler.reason,
            notices=(*data.info.notices, *job.model.notices),
            resumes=earlier is not None,
            parts=tuple(_planned(part, labeler, asked) for part in data.parts),
        )
    finally:
        closed_in_time(adapter.close)


def _planned(part: EvaluationData, labeler: Labeler, asked: set[str]) -> PlannedPart:
    before = len(asked)
    if labeler.label_many is not None or not part.evaluation.needs_labeler:
        for sample in part.samples:
            asked.update(request.id for request in shortest_path(part.evaluation.dialog(sample)))
    images = {sample.image.image_id: sample.image.file for sample in part.samples}
    return PlannedPart(
        name=part.evaluation.name,
        samples=len(part.samples),
        asks_at_least=len(asked) - before,
        images=len(images),
        images_present=sum(file is not None and file.is_file() for file in images.values()),
        left_out=part.left_out,
    )


def shortest_path(dialog: Dialog[Any]) -> Generator[Request, None, Any]:
    """Yield the requests of a dialog in which every answer is "no" and the labeler finds nothing.

    Returns:
        What the dialog comes to.
    """
    value: Any = None
    while True:
        try:
            effect = dialog.send(value)
        except StopIteration as end:
            return end.value
        value = yield from _fulfilled(effect)


def _fulfilled(effect: Effect) -> Generator[Request, None, Any]:
    if isinstance(effect, Ask):
        yield effect.request
        return Response(effect.request.id, SHORTEST)
    if isinstance(effect, Label):
        return make_labels({})
    results = []
    for branch in effect.branches:
        path = _fulfilled(branch) if isinstance(branch, Ask | Label | All) else shortest_path(branch)
        results.append((yield from path))
    return results
