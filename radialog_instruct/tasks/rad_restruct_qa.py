"""Rad-ReStruct QA: the questions of a structured report, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from radialog_instruct.ids import rank
from radialog_instruct.records import Sample, Split, StructuredQuestion, Study, TargetSource, Turn
from radialog_instruct.tasks.base import Skip, Slot, Task
from radialog_instruct.tasks.selection import balanced

_Path = tuple[tuple[str, tuple[str, ...]], ...]


class RadReStructQA(Task):
    """Answer one question of a structured report.

    Input: the image; the questions that led to this one with their answers as earlier turns; the options.
    Output: the dataset's answers, comma-separated.
    Share: with ``balanced``, as many questions answered "yes" as "no" of each question type, which is topic times level
    (whole area, named finding, another instance); a question that offers a choice follows the "yes" above it.
    Source: the paper, appendix C.1; Pellegrini et al., 2023.
    """

    name = "rad_restruct_qa"
    legacy_code = "RR"
    template = "rad_restruct_qa"
    target_source = TargetSource.STRUCTURED
    follows = "rad-restruct"
    answer_may_stand_in = frozenset({"instruction", "history"})  # the options stand there

    @property
    def is_thinned(self) -> bool:
        """Whether some slots may be dropped."""
        return self.mix.balanced or self.mix.share is not None

    def allocate(self, counts: Mapping[str, int], units: int) -> dict[str, int]:
        """Balance yes and no in each question type."""
        if not self.mix.balanced:
            return super().allocate(counts, units)
        share = self.mix.share if self.mix.share is not None else 1
        kept: dict[str, int] = {}
        for kind in {stratum.rpartition("|")[0] for stratum in counts}:
            pair = balanced(counts.get(f"{kind}|yes", 0), counts.get(f"{kind}|no", 0), 0.5)
            kept[f"{kind}|yes"], kept[f"{kind}|no"] = (round(share * n) for n in pair)
        return kept

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot a question and frontal image."""
        report = study.structured
        if report is None:
            return
        frontal = [image for image in self.images(study) if image.image_id in report.image_ids]
        if not frontal:
            yield Skip("no frontal image")
        keyed = _keyed(report.questions)
        for image in frontal:
            known: dict[tuple[_Path, str], tuple[str, int]] = {}
            for key, question in keyed:
                if question.is_binary:
                    stratum, order = _stratum(question), self._rank(study, image.image_id, key)
                    known[question.history, question.question] = stratum, order
                    yield Slot(image, key, stratum, order, content=question)
                else:
                    stratum, order = _parent(question, known)
                    yield Slot(image, key, stratum, order, follows=True, content=question)

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog with the questions above as its history."""
        question = slot.content
        assert isinstance(question, StructuredQuestion)
        history = tuple(
            turn
            for asked, answers in question.history
            for turn in (Turn("user", asked), Turn("assistant", ", ".join(answers)))
        )
        return self.sample(
            study,
            slot,
            split,
            ", ".join(question.answers),
            history=history,
            question=question.question,
            options=", ".join(question.options),
            several=question.answer_type == "multi_choice",
        )

    def _rank(self, study: Study, image_id: str, key: str) -> int:
        return rank(self.context.seed, self.name, study.source, study.study_id, image_id, key, "select")


def _keyed(questions: tuple[StructuredQuestion, ...]) -> list[tuple[str, StructuredQuestion]]:
    """Give every question a key: its path, and how often the path came before (instances of a finding repeat it)."""
    seen: Counter[str] = Counter()
    keyed = []
    for question in questions:
        keyed.append((f"{question.path}#{seen[question.path]}", question))
        seen[question.path] += 1
    return keyed


def _stratum(question: StructuredQuestion) -> str:
    level = "area" if not question.history else "finding" if len(question.history) == 1 else "another"
    topic = "_".join(question.path.split("_")[:2])
    return f"{topic}|{level}|{question.answers[0]}"


def _parent(question: StructuredQuestion, known: Mapping[tuple[_Path, str], tuple[str, int]]) -> tuple[str, int]:
    """Return stratum and rank of the last yes above a choice question."""
    for depth in range(len(question.history) - 1, -1, -1):
        found = known.get((question.history[:depth], question.history[depth][0]))
        if found is not None:
            return found
    return "no question above|area|yes", 0
