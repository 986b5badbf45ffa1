"""Rad-ReStruct: a structured report, filled in along its hierarchy of questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from radialog_bench.chat import Message, Request
from radialog_bench.dialog import All, Ask, AskFailed, Dialog
from radialog_bench.evaluations.base import Conversation, EvalSample, Evaluation, LeftOut, Options, sample_key
from radialog_bench.labelers import LabelMany
from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct import Layout, match_instances
from radialog_bench.metrics.rad_restruct.answers import encode, parse, unanswered
from radialog_bench.metrics.rad_restruct.layout import YES, Finding, Question, Topic
from radialog_bench.metrics.rad_restruct.measures import level_table, vector_metrics
from radialog_bench.metrics.rad_restruct.reports import (
    answer_text,
    layout_of,
    load_wordings,
    structured_answers,
    summary,
)
from radialog_bench.sheet import Sheet
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Split, StructuredReport, Study

ANNOTATION = "rad-restruct"
"""Name of the annotation's official split."""
TASK = "rad_restruct_qa"
History = tuple[Message, ...]


@dataclass
class _Notes:
    """What a dialog has come to so far; its branches share it."""

    sample: EvalSample
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parts: dict[str, str | None] = field(default_factory=dict)
    asked: dict[str, Message] = field(default_factory=dict)
    failed: list[AskFailed] = field(default_factory=list)


class RadReStruct(Evaluation):
    """Fill in the structured report of each of its frontal images.

    Dialog: every area is asked at once. Level 1: is there a sign, a disease, an object or an abnormal region? Level 2:
    is a named finding there? Level 3: where, with which attributes, in which degree? Then whether it is there once
    more. A "no" closes what lies below. Each question carries its options; its history is its own path: the questions
    above it and the earlier details of the same finding. Questions, order, options and how often a finding can be
    named come from the annotation's folder. Greedy.
    Answers: read by ``parse``; a failed question is a "no" or no selection, and its sample counts as an error.
    Reference: the dataset's structured report. The split is Rad-ReStruct's own.
    Metrics: the official averages and those over classes, with instances matched and without, by level. Source:
    Pellegrini et al., 2023 and their evaluator; the paper, section 4.
    """

    name = "rad_restruct"
    version = 1
    headline = "official_f1"

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._references: dict[str, Mapping[str, tuple[str, ...]]] = {}

    def split_of(self, study: Study) -> Split:
        """Return the split of Rad-ReStruct, where the study stands in it."""
        return study.official.get(ANNOTATION, study.split)

    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield one sample a frontal image of a structured report."""
        for study in studies:
            report = study.structured
            if report is None:
                yield LeftOut("study without a structured report")
                continue
            reference = summary(layout_of(report), self._reference(study))
            frontal = [image for image in study.images if image.image_id in report.image_ids]
            if not frontal:
                yield LeftOut("structured report without a frontal image")
            for image in frontal:
                yield EvalSample(sample_key(self.name, study, image), study, image, reference)

    def request(self, sample: EvalSample) -> Request:
        """Ask the template's first question."""
        layout = layout_of(_report(sample))
        first = layout.topics[0].question or layout.topics[0].findings[0].instances[0].question
        return self._ask(sample, first, ())

    def dialog(self, sample: EvalSample) -> Dialog[Conversation]:
        """Ask all areas at once, each along its answers."""
        layout, notes = layout_of(_report(sample)), _Notes(sample)
        yield All(*(self._topic(notes, topic) for topic in layout.topics))
        if notes.failed and len(notes.failed) == len(notes.parts):
            raise notes.failed[0]
        turns: list[Message] = []
        for question in layout.questions:
            if question.key in notes.asked:
                turns.append(notes.asked[question.key])
                text = notes.parts[question.key]
                turns += [Message("assistant", text)] if text is not None else []
        failures = tuple(failed.failure for failed in notes.failed)
        return Conversation(summary(layout, notes.answers), tuple(turns), notes.parts, failures)

    def reference_answer(self, sample: EvalSample, request: Request, label_many: LabelMany | None) -> str:
        """Answer as the dataset's report does."""
        del label_many
        question = layout_of(_report(sample)).by_key[request.id.partition("#")[2]]
        return answer_text(self._reference(sample.study).get(question.key) or unanswered(question))

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score the answer vectors."""
        if not samples:
            for metric in vector_metrics(matched=True) + vector_metrics(matched=False):
                sheet.add(metric, [], [])
            return
        layout = layout_of(_report(samples[0]))
        answers = [_read(layout, conversation, sheet) for conversation in conversations]
        guesses = np.stack([encode(layout, answer) for answer in answers])
        truths = np.stack([encode(layout, self._reference(sample.study)) for sample in samples])
        for matched in (True, False):
            vectors = match_instances(guesses, truths, layout) if matched else guesses
            for metric in vector_metrics(matched=matched):
                sheet.add(metric, _rows(vectors), _rows(truths), shown=metric.per_sample)
            name = "levels" if matched else "levels_unmatched"
            sheet.tables[name] = level_table(vectors, truths, layout, matched=matched)
        sheet.parsed = [summary(layout, answer) for answer in answers]
        sheet.reference_parsed = [sample.reference for sample in samples]

    def _reference(self, study: Study) -> Mapping[str, tuple[str, ...]]:
        if study.study_id not in self._references:
            assert study.structured is not None
            self._references[study.study_id] = structured_answers(study.structured)
        return self._references[study.study_id]

    def _topic(self, notes: _Notes, topic: Topic) -> Dialog[None]:
        history: History = ()
        if topic.question is not None:
            said, history = yield from self._turn(notes, topic.question, history)
            if said != (YES,):
                return
        yield All(*(self._finding(notes, finding, history) for finding in topic.findings))

    def _finding(self, notes: _Notes, finding: Finding, history: History) -> Dialog[None]:
        for instance in finding.instances:
            said, history = yield from self._turn(notes, instance.question, history)
            if said != (YES,):
                return
            for detail in instance.details:
                _, history = yield from self._turn(notes, detail, history)

    def _turn(self, notes: _Notes, question: Question, history: History) -> Dialog[tuple[tuple[str, ...], History]]:
        """Ask a question; return the chosen options and the history that the next one on the path has."""
        request = self._ask(notes.sample, question, history)
        notes.asked[question.key] = request.messages[-1]
        try:
            response = yield Ask(request)
        except AskFailed as failed:
            notes.parts[question.key] = None
            notes.failed.append(failed)
            chosen = unanswered(question)
        else:
            notes.parts[question.key] = response.text
            chosen = parse(response.text, question).options
        notes.answers[question.key] = chosen
        wording = load_wordings(_folder(notes.sample))[question.key]
        return chosen, (*history, Message("user", wording), Message("assistant", answer_text(chosen)))

    def _ask(self, sample: EvalSample, question: Question, history: History) -> Request:
        prompts, constant = default_prompts(), "structured_one"
        if question.answer_type == "multi_choice":
            constant = "structured_several"
        wording = load_wordings(_folder(sample))[question.key]
        text = prompts.render(CONSTANTS, constant, question=wording, options=", ".join(question.options))
        asked = self.question(sample, TASK, f"level{question.level}", text, history, question.key)
        return replace(asked, choices=question.options)


def _read(layout: Layout, conversation: Conversation, sheet: Sheet) -> dict[str, tuple[str, ...]]:
    """Read a conversation's answers, and count those that could not be read."""
    answers = {}
    for key, text in conversation.parts.items():
        question = layout.by_key[key]
        if text is None:
            answers[key] = unanswered(question)
            continue
        parsed = parse(text, question)
        answers[key] = parsed.options
        if parsed.fault is not None:
            sheet.counts[parsed.fault] += 1
    return answers


def _rows(vectors: Floats) -> list[Floats]:
    return list(vectors)


def _report(sample: EvalSample) -> StructuredReport:
    assert sample.study.structured is not None
    return sample.study.structured


def _folder(sample: EvalSample) -> Path:
    folder = _report(sample).folder
    assert folder is not None
    return folder
