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
    """The sections of a report; None where a section is absent or empty. Newlines are already folded to blanks."""

    indication: str | None = None
    comparison: str | None = None
    findings: str | None = None
    impression: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """One examination of a patient: what a reader yields and every task and evaluation starts from.

    Attributes:
        source: Name of the source, for example ``"iu-xray"``.
        study_id: The study's id, unique within the source.
        subject_id: The patient's id, unique within the source; where a source knows none, one derived from the study.
        split: The split of the patient.
        terms: What the source's licence allows.
        images: The images, frontal ones first, each group by image id; empty for a study known by its report alone.
        sections: The report.
        labels: Labels by the name of the labeler that made them, for example ``"rules"`` or ``"public"``.
        structured: The structured report as (question path, answers) pairs, where the source has one.
        explanations: Natural language explanations as (findings, sentence) pairs, where the source has them.
    """

    source: str
    study_id: str
    subject_id: str
    split: Split
    terms: Terms
    images: tuple[Image, ...]
    sections: Sections
    labels: Mapping[str, Labels] = field(default_factory=dict)
    structured: tuple[tuple[str, tuple[str, ...]], ...] = ()
    explanations: tuple[tuple[tuple[str, ...], str], ...] = ()


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
class Sample:
    """One training dialog: the last turn is the target.

    Attributes:
        task: Name of the task.
        study: The study it was made from.
        image: The image it is about, or None for a text-only dialog.
        turns: The dialog, user and assistant alternating, ending with the assistant's target.
        slot: What distinguishes samples of one task, study and image, for example the class of a binary question.
        target_source: Where the target comes from.
        template: The variant that wrote the task's instruction.
        report_turn: Index of the assistant turn that holds the study's report, or None.
        labeler: Name of the labeler whose labels were used, or None.
    """

    task: str
    study: Study
    image: Image | None
    turns: tuple[Turn, ...]
    slot: str
    target_source: TargetSource
    template: TemplateUse
    report_turn: int | None = None
    labeler: str | None = None
