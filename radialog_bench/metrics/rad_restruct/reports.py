"""Joins a report's questions with the template: its answers, its vector, and how the questions are worded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from radialog_bench.metrics.rad_restruct.layout import YES, Finding, Layout, Question
from radialog_instruct.errors import DataError
from radialog_instruct.records import StructuredQuestion

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
