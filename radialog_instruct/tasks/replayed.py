"""What the tasks share whose answers an LLM writes: the request, and the check of what comes back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from radialog_instruct.findings import FINDINGS, NEGATIVE, NO_FINDING, POSITIVE, SUPPORT_DEVICES, UNCERTAIN, Labels
from radialog_instruct.records import ReplayAsk, Sample, Split, Study, TargetSource, Turn
from radialog_instruct.replay.validate import Verdict, check_text
from radialog_instruct.tasks.base import Skip, Slot, Task, TaskContext, is_placeholder


class ReplayTask(Task):
    """Base of the tasks whose answers an LLM writes.

    Class attributes:
        min_words: Fewest words of an answer.
        max_words: Most words of an answer.
        max_tokens: New tokens an answer may take before it is cut off.
        regex: A pattern that the engine holds the answer to, or None.
    """

    target_source = TargetSource.LLM
    min_words: ClassVar[int]
    max_words: ClassVar[int]
    max_tokens: ClassVar[int]
    regex: ClassVar[str | None] = None
    answer_may_stand_in = frozenset({"report"})

    def __init__(self, context: TaskContext | None = None) -> None:
        super().__init__(context)
        self._replay_file = f"replay/{self.template}"
        self._known: dict[str, Labels] = {}

    @abstractmethod
    def accept(self, text: str, sample: Sample) -> Verdict:
        """Judge an answer: a pure function of the answer and the sample it was asked for."""

    def missing_report(self, study: Study) -> Skip | None:
        """Return why a study has no report to talk about, or None."""
        if study.sections.findings is None:
            return Skip("no findings section")
        return Skip("the findings section says nothing") if is_placeholder(study.sections.findings) else None

    def asked(self, sample: Sample, **variables: object) -> Sample:
        """Return the sample with what the LLM is asked: the task's fixed wording around the row's own instruction.

        Args:
            sample: The sample; its last turn is the instruction.
            **variables: Variables of the replay template beside ``instruction``.
        """
        prompts = self.context.prompts
        blocks = set(prompts.blocks(self._replay_file))
        values = {"instruction": sample.turns[-1].content, **variables}
        turns: list[Turn] = [Turn("system", prompts.render(self._replay_file, "system"))]
        if "example" in blocks:
            turns += [
                Turn("user", prompts.render(self._replay_file, "example")),
                Turn("assistant", prompts.render(self._replay_file, "example_answer")),
            ]
        turns.append(Turn("user", prompts.render(self._replay_file, "user", **values)))
        return replace(sample, ask=ReplayAsk(tuple(turns), self.max_tokens, self.regex))

    def about_report(self, study: Study, slot: Slot, split: Split, **variables: str | bool) -> Sample:
        """Make the dialog about the reference report, and ask the LLM about the same report."""
        history = self.report_turns(study)
        sample = self.sample(study, slot, split, None, history=history, report_turn=1, **variables)  # type: ignore[arg-type]
        return self.asked(sample, report=study.sections.findings or "")

    def check(self, text: str, sample: Sample) -> Verdict:
        """Check an answer as text."""
        assert sample.ask is not None
        own_words = "\n".join(turn.content for turn in sample.ask.messages if turn.role == "system")
        instructions = f"{own_words}\n{sample.turns[-1].content}"
        return check_text(text, instructions, min_words=self.min_words, max_words=self.max_words)

    def contradictions(self, text: str, report: str) -> tuple[str, ...]:
        """Return reasons where an answer and its report say the opposite of one another.

        An answer may leave findings out and use words the judge does not know; it must not assert what the report does
        not even doubt, nor deny what the report asserts.

        Args:
            text: The answer.
            report: The report it is about.
        """
        pairs = [(self.judged(report)[i], self.judged(text)[i]) for i in finding_indices()]
        added = any(said == POSITIVE and true not in (POSITIVE, UNCERTAIN) for true, said in pairs)
        denied = any(said == NEGATIVE and true == POSITIVE for true, said in pairs)
        return (*([ASSERTED] if added else []), *([DENIED] if denied else []))

    def judged(self, text: str) -> Labels:
        """Return the labels the judge reads in a text; the last few hundred are remembered."""
        known = self._known.get(text)
        if known is None:
            if len(self._known) > _REMEMBERED:
                self._known.clear()
            known = self._known[text] = self.context.judge.label_many([text])[0]
        return known


class ReportTask(ReplayTask):
    """A replay task with one question about the reference report for every image."""

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an image, or a text-only one for a study without images."""
        missing = self.missing_report(study)
        if missing is not None:
            yield missing
            return
        for image in self.images_or_text_only(study):
            yield Slot(image, rank=self.rank(study, image))

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the report, with the request for its answer."""
        return self.about_report(study, slot, split)


def finding_indices() -> Sequence[int]:
    """Return the positions of the classes that are findings: all but No Finding and Support Devices."""
    return _FINDING_INDICES


_FINDING_INDICES = tuple(i for i, name in enumerate(FINDINGS) if name not in (NO_FINDING, SUPPORT_DEVICES))
_REMEMBERED = 512
ASSERTED, DENIED = "asserts a finding that the report does not", "denies a finding of the report"
