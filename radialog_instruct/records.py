"""The nouns of the data: a study with its images, sections and labels, and the samples made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from radialog_instruct.findings import Labels

Role = Literal["system", "user", "assistant"]


class Split(StrEnum):
    """A split of patients; every study of a patient lies in the same one."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class View(StrEnum):
    """The projection of an image, in DICOM's spelling.

    ``FRONTAL`` is a frontal image of unknown direction: IU-Xray knows no more. ``OTHER`` is any other projection.
    """

    AP = "AP"
    PA = "PA"
    LL = "LL"
    LATERAL = "LATERAL"
    FRONTAL = "FRONTAL"
    OTHER = "OTHER"

    @property
    def is_frontal(self) -> bool:
        """Whether the beam ran front to back or back to front."""
        return self in (View.AP, View.PA, View.FRONTAL)


class Terms(StrEnum):
    """What the licence of a source allows to be done with its rows."""

    OPEN = "open"
    NO_DERIVATIVES = "no-derivatives"
    CREDENTIALED = "credentialed"


class TargetSource(StrEnum):
    """Where the answer of a sample comes from."""

    REPORT = "report"
    LABEL = "label"
    NLE = "nle"
    STRUCTURED = "structured"
    LLM = "llm"


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a study.

    Attributes:
        image_id: The source's own name of the image.
        path: Its path relative to the source's image root, as published in ``image_paths``.
        view: Its projection, or None where the source does not say.
        file: Where it lies on this machine, or None when the file is not there.
    """

    image_id: str
    path: str
    view: View | None
    file: Path | None


@dataclass(frozen=True, slots=True)
class Sections:
    """The sections of a report; None where a section is absent or empty. Newlines are already folded to blanks.

    ``last_paragraph`` is what a report without findings and impression ends with: text of unknown standing that no task
    uses as a section.
    """

    indication: str | None = None
    comparison: str | None = None
    findings: str | None = None
    impression: str | None = None
    last_paragraph: str | None = None


@dataclass(frozen=True, slots=True)
class StructuredQuestion:
    """One question of a structured report (Rad-ReStruct).

    Attributes:
        path: Where it stands in the report template, for example ``"lung_signs_opacity_degree"``.
        question: Its text.
        options: The answers it offers.
        answers: The answers given.
        history: The questions that led to it with their answers, outermost first; empty at level 1.
        answer_type: ``"single_choice"``, ``"multi_choice"`` or ``"fixed_choice"``.
    """

    path: str
    question: str
    options: tuple[str, ...]
    answers: tuple[str, ...]
    history: tuple[tuple[str, tuple[str, ...]], ...]
    answer_type: str

    @property
    def is_binary(self) -> bool:
        """Whether it is answered by yes or no."""
        return set(self.options) == {"yes", "no"}


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """A structured report.

    Attributes:
        questions: Its questions in the template's order.
        image_ids: The frontal images it was made for.
        folder: The annotation's folder, whose template says what else can be asked; None where it is not known.
    """

    questions: tuple[StructuredQuestion, ...]
    image_ids: tuple[str, ...]
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sentence that says what speaks for some findings (MIMIC-NLE).

    Attributes:
        sentence_id: Its id in the source.
        findings: Canonical names of the findings it explains, in MIMIC-NLE's order.
        text: The sentence.
    """

    sentence_id: str
    findings: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A report with errors that a dialog corrects.

    Attributes:
        image_id: The image a model wrote it for, or None where it belongs to the study as a whole.
        text: The report.
        labels: The 14 labels a labeler reads in it.
        model: Who wrote it.
    """

    image_id: str | None
    text: str
    labels: Labels
    model: str


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of a patient: what a reader yields and every task and evaluation starts from.

    Attributes:
        source: Name of the source, for example ``"iu-xray"``.
        study_id: The study's id, unique within the source.
        subject_id: The patient's id, unique within the source; where a source knows none, one derived from the study.
        split: The split of the patient by the source itself, or by hash where the source sets none.
        terms: What the source's licence allows.
        images: The images, frontal ones first, each group by image id; empty for a study known by its report alone.
        sections: The report.
        labels: Labels by the name of the labeler that made them, for example ``"rules"`` or ``"public"``.
        official: Every official split the study stands in, by the name of the source or annotation that set it.
        structured: The structured report, where one is attached.
        explanations: Natural language explanations, where some are attached.
        drafts: A model's reports about the images, where some are attached.
    """

    source: str
    study_id: str
    subject_id: str
    split: Split
    terms: Terms
    images: tuple[Image, ...]
    sections: Sections
    labels: Mapping[str, Labels] = field(default_factory=dict)
    official: Mapping[str, Split] = field(default_factory=dict)
    structured: StructuredReport | None = None
    explanations: tuple[Explanation, ...] = ()
    drafts: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a dialog."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """Which template variant wrote a sample's instruction.

    Attributes:
        template_id: Stable id of the variant, for example ``"impression/v03"``.
        version: Version number of the template file.
        hash: blake2b-128 of the template file's bytes, in hexadecimal.
    """

    template_id: str
    version: int
    hash: str


@dataclass(frozen=True, slots=True)
class ReplayAsk:
    """What an LLM is asked so that a sample gets its answer.

    Attributes:
        messages: System and user messages.
        max_tokens: New tokens it may take.
        regex: A pattern its answer must follow, or None.
        choices: The answers it may give, or none for free text.
    """

    messages: tuple[Turn, ...]
    max_tokens: int
    regex: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generator:
    """Who wrote an answer, and from which request; the fields are those of the ``generator`` column."""

    model: str
    revision: str
    engine: str
    engine_version: str
    request_hash: str
    sampling_hash: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One training dialog: the last turn is the target, or the instruction whose answer an LLM has yet to write.

    Attributes:
        task: Name of the task.
        study: The study it was made from.
        image: The image it is about, or None for a text-only dialog.
        split: Its split, which may differ from the study's where an annotation has an official one of its own.
        turns: The dialog, user and assistant alternating, ending with the assistant's target.
        slot: What distinguishes samples of one task, study and image, for example the class of a binary question.
        target_source: Where the target comes from.
        template: The variant that wrote the task's instruction.
        report_turn: Index of the assistant turn that holds the study's report, or None.
        labeler: Name of the labeler whose labels were used, or None.
        ask: What the LLM is asked, where it writes the target.
        generator: The LLM that wrote the target, or None.
        flags: What a validator noted about the target.
        judge_score: An LLM judge's score of the target between 0 and 1, or None.
        findings_text: The findings text of turn 1 where it is not that of the study's labels.
    """

    task: str
    study: Study
    image: Image | None
    split: Split
    turns: tuple[Turn, ...]
    slot: str
    target_source: TargetSource
    template: TemplateUse
    report_turn: int | None = None
    labeler: str | None = None
    ask: ReplayAsk | None = None
    generator: Generator | None = None
    flags: tuple[str, ...] = ()
    judge_score: float | None = None
    findings_text: str | None = None
