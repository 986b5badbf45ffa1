"""What a task is: a class that turns one study into training dialogs, and counts what it has to leave out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple

from radialog_instruct.findings import Labels
from radialog_instruct.ids import pick, rank
from radialog_instruct.labeling.base import TextLabeler
from radialog_instruct.labeling.rules import RuleLabeler
from radialog_instruct.mixtures import TaskMix, Unit
from radialog_instruct.prompts import CONSTANTS, PromptLibrary, default_prompts
from radialog_instruct.records import Image, Sample, Split, Study, TargetSource, Turn
from radialog_instruct.tasks.selection import ALL, Selection


class Overlap(StrEnum):
    """What happens to a study that official splits of several sources put into different splits."""

    STRICT = "strict"
    """It leaves the weaker split for all tasks: test goes before validation, validation before train."""
    PAPER = "paper"
    """Each task follows its own official split, as the released data do: a test study of one may train another."""


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What tasks share within one build.

    Attributes:
        prompts: The templates.
        seed: Seed of every choice.
        labeler: Name of the labeler whose labels supervise findings QA and give the findings text.
        mix: How much of each task is made; a task that is absent takes all.
        unit: What a task makes one dialog of.
        selection: Which samples are kept.
        overlap: What happens to studies in different official splits.
        judge: Reads findings in drafts and in answers of an LLM.
        run_drafts: Whether corrections start from a model's drafts instead of injected errors.
    """

    prompts: PromptLibrary = field(default_factory=default_prompts)
    seed: int = 0
    labeler: str = "rules"
    mix: Mapping[str, TaskMix] = field(default_factory=dict)
    unit: Unit = Unit.IMAGE
    selection: Selection = field(default_factory=Selection)
    overlap: Overlap = Overlap.STRICT
    judge: TextLabeler = field(default_factory=RuleLabeler)
    run_drafts: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """A sample that a task could not make; counted by reason in the manifest, never silent."""

    reason: str


class Slot(NamedTuple):
    """A sample that could be made. A named tuple, because millions of them are made to be counted.

    Attributes:
        image: The image it is about, or None for a text-only dialog.
        key: What tells slots of one task, study and image apart, for example the class of a binary question.
        stratum: The pool it competes in.
        rank: By which it is kept or dropped; 0 where nothing is dropped.
        follows: Whether it is kept exactly when the slot of its pool with the same rank is.
        content: What the task needs to make the sample.
    """

    image: Image | None
    key: str = ""
    stratum: str = ""
    rank: int = 0
    follows: bool = False
    content: object = None


class Task(ABC):
    """Base of the tasks.

    Class attributes:
        name: Key of the task in files and on the command line.
        legacy_code: The task's code in the released dataset, for example ``"RG"``.
        template: Name of the file under ``templates/instruct`` that holds the task's instruction variants.
        target_source: Where its answers come from.
        follows: The annotation whose official split the task follows; None follows the source's own.
        answer_may_stand_in: Parts of the prompt (``"report"``, ``"instruction"``, ``"history"``) that may hold the
            answer; anywhere else it is a leak.
    """

    name: ClassVar[str]
    legacy_code: ClassVar[str]
    template: ClassVar[str]
    target_source: ClassVar[TargetSource]
    follows: ClassVar[str | None] = None
    answer_may_stand_in: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, context: TaskContext | None = None) -> None:
        self.context = context if context is not None else TaskContext()
        self.mix = self.context.mix.get(self.name) or TaskMix()
        self._variants = self.context.prompts.variants(self.template)
        self._file = f"instruct/{self.template}"

    @abstractmethod
    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield what could be made of a study, and a skip for everything that cannot."""

    @abstractmethod
    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the sample of a slot."""

    @property
    def is_thinned(self) -> bool:
        """Whether some slots may be dropped, so that ranks are needed."""
        return self.mix.share is not None

    def allocate(self, counts: Mapping[str, int], units: int) -> dict[str, int]:  # noqa: ARG002 - for tasks with quotas
        """Return how many slots of each stratum to keep, within one split.

        Args:
            counts: Possible slots by stratum.
            units: Images (or studies without one) with at least one slot.
        """
        share = self.mix.share if self.mix.share is not None else 1
        return {stratum: round(share * n) for stratum, n in counts.items()}

    def split_of(self, study: Study) -> Split | Skip:
        """Return the split of a study's samples, or why it gives none under the overlap policy."""
        official = study.official
        if not official:
            return study.split
        own = official.get(self.follows or study.source)
        strongest = max(official.values(), key=_STRENGTH.__getitem__)
        if own is None:
            own = strongest
        if own is strongest or self.context.overlap is Overlap.PAPER:
            return own
        where = min(name for name, split in official.items() if split is strongest)
        return Skip(f"in the {strongest} split of {where}")

    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield the study's samples that the build keeps, and a skip for each one it does not."""
        split = self.split_of(study)
        name, limits = self.name, self.context.selection.limits
        for slot in self.slots(study):
            if isinstance(slot, Skip):
                yield slot
            elif isinstance(split, Skip):
                yield split
            elif slot.rank <= limits.get((name, split, slot.stratum), ALL):
                yield self.make(study, slot, split)
            else:
                yield LEFT_OUT

    def images(self, study: Study) -> tuple[Image, ...]:
        """Return the images to make dialogs of."""
        return study.images if self.context.unit is Unit.IMAGE else study.images[:1]

    def images_or_text_only(self, study: Study) -> tuple[Image | None, ...]:
        """Return the images to make one dialog each of; a study without images still gives one text-only dialog."""
        return self.images(study) or (None,)

    def rank(self, study: Study, image: Image | None, key: str = "") -> int:
        """Return the rank of a slot, or 0 where nothing is dropped."""
        if not self.is_thinned:
            return 0
        image_id = image.image_id if image is not None else ""
        return rank(self.context.seed, self.name, study.source, study.study_id, image_id, key, "select")

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
        slot: Slot,
        split: Split,
        answer: str | None,
        *,
        history: tuple[Turn, ...] = (),
        report_turn: int | None = None,
        labeler: str | None = None,
        variant: str | None = None,
        **variables: object,
    ) -> Sample:
        """Build a sample whose instruction variant is chosen by hash.

        Args:
            study: The study.
            slot: What is made.
            split: The sample's split.
            answer: The target; None where an LLM has yet to write it.
            history: Turns before the instruction.
            report_turn: Index of the turn that holds the report, or None.
            labeler: The labeler, where labels made the answer.
            variant: The instruction variant, where the task has chosen it.
            **variables: Variables of the instruction template.
        """
        prompts, variants = self.context.prompts, self._variants
        image_id = slot.image.image_id if slot.image is not None else ""
        key = self.name, study.source, study.study_id, image_id, slot.key, "variant"
        variant = variant or variants[pick(len(variants), self.context.seed, *key)]
        instruction = prompts.render(self._file, variant, **variables)
        answered = (Turn("assistant", answer),) if answer is not None else ()
        return Sample(
            task=self.name,
            study=study,
            image=slot.image,
            split=split,
            turns=(*history, Turn("user", instruction), *answered),
            slot=slot.key,
            target_source=self.target_source,
            template=prompts.use(self.template, variant),
            report_turn=report_turn,
            labeler=labeler,
        )


def is_placeholder(text: str) -> bool:
    """Tell whether a text says nothing: it is empty, holds marks of de-identification alone, or "none" and the like."""
    words = _WORD.findall(_MARK.sub(" ", text.lower()))
    return not words or " ".join(words) in _NOTHING


_MARK = re.compile(r"_+|\bx{3,}\b")
_WORD = re.compile(r"[^\W_]+")
_NOTHING = frozenset(
    {"none", "n a", "na", "not applicable", "see above", "as above", "see below", "null", "nan", "todo"}
)
LEFT_OUT = Skip("left out by the mixture")
_STRENGTH = {Split.TRAIN: 0, Split.VALIDATION: 1, Split.TEST: 2}
