"""Joins a report's questions with the template: its answers, its vector, and how the questions are worded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from radialog_bench.metrics.rad_restruct.answers import unanswered
from radialog_bench.metrics.rad_restruct.layout import NOTHING, YES, Finding, Layout, Question, load_layout
from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.errors import DataError
from radialog_instruct.records import StructuredQuestion, StructuredReport

Pair = tuple[Question, StructuredQuestion]


def joined(layout: Layout, questions: Sequence[StructuredQuestion], where: str = "structured report") -> list[Pair]:
    """Pair a report's questions with the template's, by walking the template along the answers.

    Args:
        layout: The template.
        questions: The report's questions in their order.
        where: Names the report in errors.

    Raises:
        DataError: If the report asks something else than the template.
    """
    pairs = list(_walk(layout, iter(questions), where))
    if len(pairs) != len(questions):
        raise DataError(
            f"{len(questions)} questions, but the template asks {len(pairs)} along its answers",
            where=where,
            mend="take reports and template from one version of Rad-ReStruct",
        )
    return pairs


def answers_of(pairs: Sequence[Pair]) -> dict[str, tuple[str, ...]]:
    """Return the report's answers by the question's key."""
    return {question.key: asked.answers for question, asked in pairs}


def wordings(layout: Layout, reports: Iterator[Sequence[Pair]]) -> dict[str, str]:
    """Collect how the questions are worded.

    Args:
        layout: The template.
        reports: Joined reports; they are read until every question was seen.

    Returns:
        The wording by the question's key. Further instances of a finding share theirs. Keys of questions that no
        report asks are missing.
    """
    wanted = {question.key for question in layout.questions}
    twins = _twins(layout)
    found: dict[str, str] = {}
    for pairs in reports:
        for question, asked in pairs:
            if question.key in wanted:
                for key in twins.get(question.key, (question.key,)):
                    found[key] = asked.question
                    wanted.discard(key)
        if not wanted:
            break
    return found


def _twins(layout: Layout) -> Mapping[str, tuple[str, ...]]:
    """Return which questions are worded alike: the further instances, and a detail of all instances."""
    twins: dict[str, tuple[str, ...]] = {}
    for finding in layout.findings:
        groups = [tuple(instance.question.key for instance in finding.instances[1:])]
        groups += [
            tuple(instance.details[place].key for instance in finding.instances)
            for place in range(len(finding.instances[0].details))
        ]
        twins |= {key: group for group in groups for key in group}
    return twins


def _walk(layout: Layout, questions: Iterator[StructuredQuestion], where: str) -> Iterator[Pair]:
    for topic in layout.topics:
        if topic.question is not None:
            pair = _take(topic.question, questions, where)
            yield pair
            if pair[1].answers != (YES,):
                continue
        for finding in topic.findings:
            yield from _walk_finding(finding, questions, where)


def _walk_finding(finding: Finding, questions: Iterator[StructuredQuestion], where: str) -> Iterator[Pair]:
    for instance in finding.instances:
        pair = _take(instance.question, questions, where)
        yield pair
        if pair[1].answers != (YES,):
            return
        for detail in instance.details:
            yield _take(detail, questions, where)


def _take(question: Question, questions: Iterator[StructuredQuestion], where: str) -> Pair:
    asked = next(questions, None)
    if asked is None or asked.path != question.path or set(asked.options) != set(question.options):
        found = "nothing" if asked is None else f"{asked.path!r} with {len(asked.options)} options"
        raise DataError(
            f"the template asks {question.path!r} with {len(question.options)} options, the report {found}",
            where=where,
            mend="take reports and template from one version of Rad-ReStruct",
        )
    return question, asked


def summary(layout: Layout, answers: Mapping[str, tuple[str, ...]]) -> str:
    """Say in one line which findings some answers name, with their details.

    Args:
        layout: The template.
        answers: Chosen options by the question's key.
    """
    named = []
    for finding in layout.findings:
        for instance in finding.instances:
            if answers.get(instance.question.key) == (YES,):
                chosen = (o for d in instance.details for o in answers.get(d.key, ()) if o not in NOTHING)
                place = finding.area if finding.area == finding.name else f"{finding.area}: {finding.name}"
                named.append(f"{place} ({details})" if (details := ", ".join(chosen)) else place)
    return "; ".join(named) or "no finding"


@lru_cache(maxsize=8)
def load_wordings(folder: Path) -> Mapping[str, str]:
    """Read how a folder's reports word the questions.

    Args:
        folder: Rad-ReStruct's folder.

    Returns:
        The wording by the question's key; a question that no report asks is worded by its path.

    Raises:
        DataError: If a file is missing or damaged, or does not fit the template.
    """
    layout, annotation = load_layout(folder), RadReStruct(folder)
    found = wordings(
        layout, (joined(layout, annotation.structured(name).questions, name) for name in annotation.study_ids)
    )
    return {question.key: found.get(question.key, _by_path(question)) for question in layout.questions}


@lru_cache(maxsize=4096)
def structured_answers(report: StructuredReport) -> Mapping[str, tuple[str, ...]]:
    """Return a report's answers by the question's key.

    Raises:
        DataError: If the report does not know its folder, or does not fit the template there.
    """
    return answers_of(joined(layout_of(report), report.questions))


def layout_of(report: StructuredReport) -> Layout:
    """Return the template a report was filled from.

    Raises:
        DataError: If the report does not know its folder, or the template cannot be read.
    """
    if report.folder is None:
        raise DataError(
            "the template is not known", where="structured report", mend="read it from Rad-ReStruct's folder"
        )
    return load_layout(report.folder)


def structured_answer(report: StructuredReport, key: str) -> str:
    """Return a report's answer to a question as text; what was not asked is answered as what it counts as.

    Args:
        report: The report.
        key: The question's key.
    """
    question = layout_of(report).by_key[key]
    return answer_text(structured_answers(report).get(key) or unanswered(question))


def answer_text(options: Sequence[str]) -> str:
    """Return chosen options as they stand in a dialog."""
    return ", ".join(options) or NOTHING[-1]


def _by_path(question: Question) -> str:
    return f"{question.path.replace('_', ', ')}?"
