"""Findings QA: questions about the findings of the model's own report, one class at a time and all at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from radialog_bench.chat import Failure, Message, Request, Response
from radialog_bench.dialog import All, Ask, AskFailed, Dialog
from radialog_bench.evaluations.base import (
    REPORT,
    Conversation,
    EvalSample,
    Options,
    ReportDialog,
)
from radialog_bench.evaluations.texts import label_texts
from radialog_bench.labelers import LabelMany
from radialog_bench.metrics.clinical import label_set_metrics, per_class_table
from radialog_bench.sheet import Sheet
from radialog_instruct.errors import UsageError
from radialog_instruct.findings import (
    FINDINGS,
    NO_FINDING,
    POSITIVE,
    Labels,
    LabelValue,
    findings_text,
    make_labels,
    positives,
)
from radialog_instruct.prompts import CONSTANTS, default_prompts

COMPLETE = "complete"
ASKED = tuple(name for name in FINDINGS if name != NO_FINDING)
"""The classes a question is asked about; No Finding follows from their answers."""
_NO = re.compile(r"\b(no|not)\b", re.IGNORECASE)
PARSERS: dict[str, Callable[[str], str]] = {"lower-cased": str.lower, "released-v2": str}
"""What is done to a list of findings before class names are looked for in it."""


class FindingsQA(ReportDialog):
    """Answer questions about one's own report for each frontal image of the studies with a findings section.

    Dialog: the report prompt; then, each with the report as its only history, 13 binary questions and one for the
    complete list. Binary: "yes" in the answer is a positive; No Finding is positive when no other class is. Complete:
    a class is positive when its name occurs in the answer.
    Reference: the labels of the findings section, read by the run's labeler.
    Metrics: macro F1, precision and recall over the 14 classes of both modes. Source: the paper, section 4, and the
    released code.

    Args:
        options: The switches of the run; ``findings_parser`` is ``lower-cased``, or ``released-v2`` for the released
            code of v2, where a capitalised name is not found.

    Raises:
        UsageError: If there is no such parser.
    """

    name = "findings_qa"
    version = 1
    headline = "binary_macro_f1"

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        if self.options.findings_parser not in PARSERS:
            mend = f"choose from: {', '.join(PARSERS)}"
            raise UsageError(f"no parser {self.options.findings_parser!r}", where="--findings-parser", mend=mend)

    def dialog(self, sample: EvalSample) -> Dialog[Conversation]:
        """Ask for a report, then all questions about it at once."""
        request = self.request(sample)
        report = yield Ask(request)
        history = (*request.messages, Message("assistant", report.text))
        asked = self._questions(sample, history)
        answers: list[Response | AskFailed] = yield All(*(Ask(question) for question in asked.values()))
        parts: dict[str, str | None] = {REPORT: report.text}
        turns, failures = list(history), list[Failure]()
        for (name, question), answer in zip(asked.items(), answers, strict=True):
            turns.append(question.messages[-1])
            if isinstance(answer, AskFailed):
                parts[name] = None
                failures.append(answer.failure)
            else:
                parts[name] = answer.text
                turns.append(Message("assistant", answer.text or ""))
        return Conversation(parts[COMPLETE] or "", tuple(turns), parts, tuple(failures))

    def reference_answer(self, sample: EvalSample, request: Request, label_many: LabelMany | None) -> str:
        """Answer from the labels of the reference."""
        if request.task == REPORT:
            return sample.reference
        labels = label_many([sample.reference])[0] if label_many else next(iter(sample.study.labels.values()))
        if request.turn == COMPLETE:
            return findings_text(positives(labels))
        return "yes" if request.id.partition("#")[2] in positives(labels) else "no"

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score the label sets that the answers amount to."""
        labeler, parser = sheet.settings.labeler, self.options.findings_parser
        reads = f"labeler:{labeler.signature}"
        binary = label_set_metrics("binary", f"parser:yes|{reads}")
        complete = label_set_metrics("complete", f"parser:{parser}|{reads}")
        if labeler.label_many is None:
            sheet.unavailable((*binary, *complete), labeler.reason)
            return
        truths = labeler.label_many([sample.reference for sample in samples])
        said = [_binary_labels(conversation) for conversation in conversations]
        listed = [listed_labels(conversation.parts.get(COMPLETE) or "", parser) for conversation in conversations]
        best_said = [_derived({name: name in positives(row) for name in ASKED}) for row in truths]
        best_listed = [listed_labels(findings_text(positives(row)), parser) for row in truths]
        for metrics, guesses, best in ((binary, said, best_said), (complete, listed, best_listed)):
            for metric in metrics:
                sheet.add(metric, guesses, truths, best=best)
        if samples:
            sheet.tables["binary_per_class"] = per_class_table(said, truths, "Binary questions by class")
            sheet.tables["complete_per_class"] = per_class_table(listed, truths, "Complete lists by class")
        undecided = sum(_undecided(conversation) for conversation in conversations)
        sheet.counts.update({"binary answer with neither yes nor no, read as no": undecided} if undecided else {})
        sheet.parsed, sheet.reference_parsed = label_texts(said), label_texts(truths)

    def _questions(self, sample: EvalSample, history: tuple[Message, ...]) -> dict[str, Request]:
        prompts, asked = default_prompts(), {}
        for name in ASKED:
            text = prompts.render(CONSTANTS, "findings_binary", finding=name.lower())
            asked[name] = self.question(sample, "findings_qa_binary", "binary", text, history, name)
        text = prompts.render(CONSTANTS, "findings_complete")
        asked[COMPLETE] = self.question(sample, "findings_qa_complete", COMPLETE, text, history, COMPLETE)
        return asked


def listed_labels(text: str, parser: str = "lower-cased") -> Labels:
    """Read a list of findings: a class is positive when its lower-case name occurs in the text.

    Args:
        text: The answer.
        parser: One of ``PARSERS``.
    """
    read = PARSERS[parser](text)
    return make_labels({name: POSITIVE for name in FINDINGS if name.lower() in read})


def says_yes(text: str | None) -> bool:
    """Tell whether an answer is a yes, as the released code reads it: the word occurs in it."""
    return "yes" in (text or "").lower()


def _binary_labels(conversation: Conversation) -> Labels:
    answers = {name: conversation.parts.get(name) for name in ASKED}
    said = {name: says_yes(answer) for name, answer in answers.items()}
    if any(answer is None for answer in answers.values()):
        # A failed question is no "no": nobody has said that there is no finding at all.
        return make_labels({name: POSITIVE for name, yes in said.items() if yes})
    return _derived(said)


def _derived(said: dict[str, bool]) -> Labels:
    values: dict[str, LabelValue] = {name: POSITIVE for name, yes in said.items() if yes}
    return make_labels(values or {NO_FINDING: POSITIVE})


def _undecided(conversation: Conversation) -> int:
    answers = [conversation.parts.get(name) for name in ASKED]
    return sum(answer is not None and not says_yes(answer) and not _NO.search(answer) for answer in answers)
