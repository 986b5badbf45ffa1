"""What a task is: a class that turns one study into training dialogs, and counts what it has to leave out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from radialog_instruct.findings import Labels
from radialog_instruct.ids import pick
from radialog_instruct.prompts import CONSTANTS, PromptLibrary, default_prompts
from radialog_instruct.records import Image, Sample, Study, TargetSource, Turn
from radialog_instruct.tasks.balance import Balance


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What tasks share within one build.

    Attributes:
        prompts: The templates.
        seed: Seed of every choice.
        labeler: Name of the labeler whose labels supervise findings QA and give the findings text.
        balance: Which binary questions are kept.
    """

    prompts: PromptLibrary = field(default_factory=default_prompts)
    seed: int = 0
    labeler: str = "rules"
    balance: Balance = field(default_factory=Balance)


@dataclass(frozen=True, slots=True)
class Skip:
    """A sample that a task could not make; counted by reason in the manifest, never silent."""

    reason: str


class Task(ABC):
    """Base of the tasks.

    Class attributes:
        name: Key of the task in files and on the command line.
        legacy_code: The task's code in the released dataset, for example ``"RG"``.
        template: Name of the file under ``templates/instruct`` that holds the task's instruction variants.
        target_source: Where its answers come from.
    """

    name: ClassVar[str]
    legacy_code: ClassVar[str]
    template: ClassVar[str]
    target_source: ClassVar[TargetSource]

    def __init__(self, context: TaskContext | None = None) -> None:
        self.context = context if context is not None else TaskContext()

    @abstractmethod
    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield the study's samples, one an image (and slot), and a skip for each one that cannot be made."""

    def labels(self, study: Study) -> Labels | None:
        """Return the study's labels by the build's labeler, or None where it has none."""
        return study.labels.get(self.context.labeler)

    def report_turns(self, study: Study) -> tuple[Turn, ...]:
        """Return turn 1 of every dialog about a report: the published report prompt and the reference findings."""
        if study.sections.findings is None:
            return ()
        instruction = self.context.prompts.render(CONSTANTS, "report")
        return Turn("user", instruction), Turn("assistant", study.sections.findings)

    def sample(
        self,
        study: Study,
        image: Image | None,
        answer: str,
        *,
        history: tuple[Turn, ...] = (),
        slot: str = "",
        labeler: str | None = None,
        **variables: object,
    ) -> Sample:
        """Build a sample whose instruction variant is chosen by hash.

        Args:
            study: The study.
            image: The image the dialog is about, or None.
            answer: The target.
            history: Turns before the instruction; ``report_turns`` or nothing.
            slot: What tells samples of one task, study and image apart.
            labeler: The labeler, where labels made the answer.
            **variables: Variables of the instruction template.
        """
        prompts, seed = self.context.prompts, self.context.seed
        variants = prompts.variants(self.template)
        image_id = image.image_id if image is not None else ""
        variant = variants[
            pick(len(variants), seed, self.name, study.source, study.study_id, image_id, slot, "variant")
        ]
        instruction = prompts.render(f"instruct/{self.template}", variant, **variables)
        return Sample(
            task=self.name,
            study=study,
            image=image,
            turns=(*history, Turn("user", instruction), Turn("assistant", answer)),
            slot=slot,
            target_source=self.target_source,
            template=prompts.use(self.template, variant),
            report_turn=1 if history else None,
            labeler=labeler,
        )


def images_or_text_only(study: Study) -> tuple[Image | None, ...]:
    """Return the images to make one dialog each of; a study without images still gives one text-only dialog."""
    return study.images or (None,)
