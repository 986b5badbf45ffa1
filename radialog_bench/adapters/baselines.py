"""Baselines that tell what a score is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from radialog_bench.adapters.base import Adapter, BenchContext, image_key
from radialog_bench.chat import Request, Response
from radialog_bench.metrics.rad_restruct.reports import structured_answer
from radialog_instruct.findings import NO_COMMON_FINDINGS, findings_text, positives
from radialog_instruct.records import Image, Split, Study
from radialog_instruct.sources.images import check_image
from radialog_instruct.tasks.view_classification import VIEW_ANSWERS


class Constant(Adapter):
    """Gives every image the same answer: one normal report, PA, and no to every question."""

    name = "constant"
    needs_images = False
    REPORT = (
        "The heart size is normal. The mediastinal contours are normal. The lungs are clear. There is no pleural "
        "effusion or pneumothorax. No acute bony abnormality is seen."
    )
    ANSWERS: ClassVar[dict[str, str]] = {
        "report_generation": REPORT,
        "correction": REPORT,
        "impression": "No acute abnormality of the chest.",
        "findings_qa_complete": NO_COMMON_FINDINGS,
        "view_classification": "PA",
    }

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer by the task alone."""
        for request in requests:
            yield Response(request.id, self.ANSWERS.get(request.task, "no"))


class Echo(Adapter):
    """Repeats the question: a model that answers nothing."""

    name = "echo"
    needs_images = False

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Return the last user message."""
        for request in requests:
            yield Response(request.id, request.messages[-1].content)


class Oracle(Adapter):
    """Answers with the reference itself: it must reach every metric's ceiling, or the evaluation is wrong."""

    name = "oracle"
    needs_images = False

    def __init__(self) -> None:
        self._answer: Callable[[Request], str] | None = None

    def prepare(self, context: BenchContext) -> None:
        """Take the references."""
        self._answer = context.answer

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Return the references."""
        assert self._answer is not None
        for request in requests:
            yield Response(request.id, self._answer(request))


class Retrieval(Adapter):
    """Answers with what belongs to the nearest image of another patient.

    Images are compared as 32 x 32 grey pixels with zero mean and unit norm, by cosine. The pool is the source's train
    split; with ``--split all`` it is every other patient. The study itself and its patient are never retrieved.
    """

    name = "retrieval"
    limits_to_images = True
    SIDE = 32

    def __init__(self) -> None:
        self._pool: list[tuple[Study, Image]] = []
        self._vectors: NDArray[np.float64] = np.zeros((0, self.SIDE**2))
        self._subjects: dict[str, str] = {}

    def prepare(self, context: BenchContext) -> None:
        """Index the pool."""
        self._subjects = {key: subject for key, (_, subject) in context.study_of.items()}
        self._pool = [
            (study, image)
            for study in context.studies()
            if context.split == "all" or study.split is Split.TRAIN
            for image in study.images
            if image.file is not None and check_image(image.file) is None
        ]
        files = [image.file for _, image in self._pool if image.file is not None]
        self._vectors = np.stack([self._vector(file) for file in files]) if files else self._vectors

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Return the neighbour's report or view; a failure where no other patient has what is asked for."""
        for request in requests:
            try:
                similarity = self._vectors @ self._vector(request.images[0].path)
            except OSError as error:
                yield Response.failure(request.id, "image", str(error))
                continue
            answer = self._nearest_answer(similarity, self._subjects[image_key(request.id)], request)
            if answer is None:
                yield Response.failure(request.id, "missing", "no other patient in the pool has an answer")
            else:
                yield Response(request.id, answer)

    def _nearest_answer(self, similarity: NDArray[np.float64], subject: str, request: Request) -> str | None:
        for place in np.argsort(-similarity, kind="stable"):
            study, image = self._pool[place]
            answer = _answer_of(study, image, request)
            if study.subject_id != subject and answer is not None:
                return answer
        return None

    def _vector(self, path: object) -> NDArray[np.float64]:
        with PILImage.open(str(path)) as image:
            small = image.convert("L").resize((self.SIDE, self.SIDE), PILImage.Resampling.BOX)
        values = np.asarray(small, dtype=np.float64).ravel()
        values = values - values.mean()
        unit: NDArray[np.float64] = values / max(float(np.linalg.norm(values)), 1e-9)
        return unit


def _answer_of(study: Study, image: Image, request: Request) -> str | None:
    """Return what another study would answer; None where it does not know."""
    if request.task == "view_classification":
        return VIEW_ANSWERS.get(image.view) if image.view is not None else None
    if request.task in ("report_generation", "correction"):
        return study.sections.findings
    if request.task == "impression":
        return study.sections.impression
    if request.task == "rad_restruct_qa":
        return structured_answer(study.structured, request.id.partition("#")[2]) if study.structured else None
    labels = next(iter(study.labels.values()), None)
    if labels is None:
        return None
    if request.task == "findings_qa_complete":
        return findings_text(positives(labels))
    return "yes" if request.id.partition("#")[2] in positives(labels) else "no"
