"""What an evaluation is: which samples it has, the conversation it measures, and how answers are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Literal

from radialog_bench.chat import Failure, Generation, ImageRef, Message, Request
from radialog_bench.dialog import Ask, Dialog
from radialog_bench.labelers import LabelMany
from radialog_bench.sheet import Sheet
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Image, Split, Study

TokenLimits = Literal["v2", "v1"]
TOKENS: dict[TokenLimits, dict[str, int]] = {
    "v2": {},
    "v1": {"correction": 256, "findings_qa_complete": 30, "findings_qa_binary": 10},
}
"""New tokens by task, as the two releases of the published code allow them; 300 where none are named."""
MOST_TOKENS = 300
REPORT = "report_generation"
"""Task of the first turn of every dialog about a report, and the evaluation that asks for nothing else."""


@dataclass(frozen=True, slots=True)
class Options:
    """The switches of a run that change what is asked or how answers are read.

    Attributes:
        indication: Whether the report prompt holds the clinical indication, where the study has one.
        image: Whether the model is shown the image.
        tokens: New tokens by turn, as in the release ``v2`` or ``v1``.
        view_parser: How view answers are read.
        findings_parser: How lists of findings are read.
    """

    indication: bool = False
    image: bool = True
    tokens: TokenLimits = "v2"
    view_parser: str = "whole-word"
    findings_parser: str = "lower-cased"


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
        answer: The answer that stands for the sample; empty where it failed.
        turns: The whole dialog with the model's own answers.
        parts: Named answers, where a dialog asks for several: the draft, a class, a question; None where one failed.
        failures: Why questions of the dialog have no answer.
    """

    answer: str
    turns: tuple[Message, ...] = ()
    parts: Mapping[str, str | None] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


class Evaluation(ABC):
    """Base of the evaluations.

    Class attributes:
        name: Key on the command line and in results.
        version: Raised when the same answers would score differently.
        headline: The metric that stands for the evaluation where there is room for one.
        needs_labeler: Whether its dialogs cannot be held without a labeler.

    Args:
        options: The switches of the run.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    headline: ClassVar[str]
    needs_labeler: ClassVar[bool] = False

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def split_of(self, study: Study) -> Split:
        """Return the split that decides whether a study is evaluated: the source's, unless there is an official one."""
        return study.split

    @abstractmethod
    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield the samples of a split, and what gives none."""

    @abstractmethod
    def request(self, sample: EvalSample) -> Request:
        """Return the first request of a sample's dialog."""

    @abstractmethod
    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Fill in the score sheet; a failed sample is a conversation with an empty answer."""

    def dialog(self, sample: EvalSample) -> Dialog[Conversation]:
        """Hold the conversation: here, one question and its answer."""
        request = self.request(sample)
        response = yield Ask(request)
        turns = (*request.messages, Message("assistant", response.text))
        return Conversation(response.text, turns)

    def reference_answer(self, sample: EvalSample, request: Request, label_many: LabelMany | None) -> str:
        """Return what the reference would answer to a request of this sample's dialog.

        Args:
            sample: The sample.
            request: One of its requests.
            label_many: The run's labeler, or None without one.
        """
        del label_many
        return (sample.study.sections.findings or "") if request.task == REPORT else sample.reference

    def question(
        self, sample: EvalSample, task: str, turn: str, text: str, history: Sequence[Message] = (), name: str = ""
    ) -> Request:
        """Build a request about the sample's image.

        Args:
            sample: The sample.
            task: Instruct task of the question.
            turn: The question's role in the dialog.
            text: The question.
            history: The turns before it.
            name: Distinguishes the further questions of a dialog; empty for the one that has the sample's id.
        """
        return Request(
            id=f"{sample.id}#{name}" if name else sample.id,
            task=task,
            turn=turn,
            messages=(*history, Message("user", text)),
            images=image_refs(sample.image) if self.options.image else (),
            generation=Generation(TOKENS[self.options.tokens].get(task, MOST_TOKENS)),
        )

    def report_request(self, sample: EvalSample) -> Request:
        """Ask for the report of the sample's image.

        It has the id of the report generation evaluation, so that a run asks for each report once.
        """
        text = default_prompts().render(CONSTANTS, "report")
        indication = sample.study.sections.indication if self.options.indication else None
        if indication:
            text = f"{default_prompts().render(CONSTANTS, 'indication', indication=indication)} {text}"
        return Request(
            id=sample_key(REPORT, sample.study, sample.image),
            task=REPORT,
            turn="report",
            messages=(Message("user", text),),
            images=image_refs(sample.image) if self.options.image else (),
            generation=Generation(MOST_TOKENS),
            indication=indication,
        )


class ReportDialog(Evaluation):
    """Base of the evaluations that begin with the model's own report of each frontal image with reference findings."""

    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield one sample a frontal image."""
        return frontal_samples(self.name, studies)

    def request(self, sample: EvalSample) -> Request:
        """Ask for the report."""
        return self.report_request(sample)


def frontal_samples(name: str, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
    """Yield one sample a frontal image of the studies with a findings section; the reference is that section."""
    for study in studies:
        findings = study.sections.findings
        if findings is None:
            yield LeftOut("study without a findings section")
            continue
        frontal = [image for image in study.images if image.view is not None and image.view.is_frontal]
        if not frontal:
            yield LeftOut("study without a frontal image")
        for image in frontal:
            yield EvalSample(sample_key(name, study, image), study, image, findings)


def sample_key(evaluation: str, study: Study, image: Image) -> str:
    """Return a sample's id."""
    return f"{evaluation}/{study.study_id}/{image.image_id}"


@lru_cache(maxsize=1024)
def image_refs(image: Image) -> tuple[ImageRef, ...]:
    """Return the reference to an image's file; none where the file is missing. The view is not given away.

    The questions about an image share it, so that its bytes are hashed once.
    """
    return (ImageRef(image.image_id, image.file),) if image.file is not None else ()
