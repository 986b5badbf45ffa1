"""What an evaluation is: which samples it has, the conversation it measures, and how answers are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from radialog_bench.chat import Generation, ImageRef, Message, Request
from radialog_bench.dialog import Ask, Dialog
from radialog_bench.labelers import Labeler
from radialog_bench.results import MetricResult, Table
from radialog_instruct.records import Image, Study


@dataclass(frozen=True, slots=True)
class EvalSample:
    """One sample of an evaluation.

    Attributes:
        id: Evaluation, study and image, joined by slashes.
        study: The study.
        image: The image shown.
        reference: The reference answer.
    """

    id: str
    study: Study
    image: Image
    reference: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A study or image that gives no sample; counted by reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a dialog came to.

    Attributes:
        answer: The scored answer.
        turns: The whole dialog with the model's own answers.
    """

    answer: str
    turns: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """How answers are scored.

    Attributes:
        labeler: The labeler of clinical efficacy.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
        n_error: Samples that failed and count as the worst answer.
    """

    labeler: Labeler
    resamples: int
    seed: int
    n_error: int


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of an evaluation.

    Attributes:
        metrics: By name.
        tables: By name.
        counts: Answers that could not be parsed, by reason.
        parsed: The parsed answer of each sample, or None where parsing means nothing.
        reference_parsed: The parsed reference of each sample.
        per_sample: Scores of each sample by metric.
    """

    metrics: dict[str, MetricResult]
    tables: dict[str, Table]
    counts: dict[str, int]
    parsed: list[str | None]
    reference_parsed: list[str | None]
    per_sample: list[dict[str, float | None]]


class Evaluation(ABC):
    """Base of the evaluations.

    Class attributes:
        name: Key on the command line and in results.
        version: Raised when the same answers would score differently.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield the samples of a split, and what gives none."""

    @abstractmethod
    def request(self, sample: EvalSample) -> Request:
        """Return the first request of a sample's dialog."""

    @abstractmethod
    def score(self, samples: Sequence[EvalSample], answers: Sequence[str], settings: ScoringSettings) -> Scores:
        """Score answers; a failed one is an empty text."""

    def dialog(self, sample: EvalSample) -> Dialog[Conversation]:
        """Hold the conversation: here, one question and its answer."""
        request = self.request(sample)
        response = yield Ask(request)
        turns = (*request.messages, Message("assistant", response.text))
        return Conversation(response.text, turns)

    def question(self, sample: EvalSample, task: str, turn: str, text: str, generation: Generation) -> Request:
        """Build a request with one user turn about the sample's image."""
        return Request(
            id=sample.id,
            task=task,
            turn=turn,
            messages=(Message("user", text),),
            images=image_refs(sample.image),
            generation=generation,
        )


def sample_key(evaluation: str, study: Study, image: Image) -> str:
    """Return a sample's id."""
    return f"{evaluation}/{study.study_id}/{image.image_id}"


def image_refs(image: Image) -> tuple[ImageRef, ...]:
    """Return the reference to an image's file; none where the file is missing. The view is not given away."""
    return (ImageRef(image.image_id, image.file),) if image.file is not None else ()
