"""Impression: an image and its findings in, the impression section out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from radialog_bench.chat import Message, Request
from radialog_bench.evaluations.base import Conversation, EvalSample, Evaluation, LeftOut, frontal_samples
from radialog_bench.evaluations.texts import score_findings, score_texts
from radialog_bench.sheet import Sheet
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Study


class Impression(Evaluation):
    """Write the impression for each frontal image of the studies that have findings and impression.

    Dialog: the report prompt and the reference findings as its answer stand in the history; then the released question.
    Reference: the impression section.
    Metrics: the text metrics; CE by the run's labeler. Source: the paper, section 4.
    """

    name = "impression"
    version = 1
    headline = "rouge_l"

    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield one sample a frontal image."""
        for item in frontal_samples(self.name, studies):
            if isinstance(item, LeftOut):
                yield item
            elif item.study.sections.impression is None:
                yield LeftOut("image of a study without an impression section")
            else:
                yield EvalSample(item.id, item.study, item.image, item.study.sections.impression)

    def request(self, sample: EvalSample) -> Request:
        """Ask for the impression of the reference findings."""
        report = Message("assistant", sample.study.sections.findings or "")
        history = (*self.report_request(sample).messages, report)
        text = default_prompts().render(CONSTANTS, "impression")
        return self.question(sample, "impression", "impression", text, history)

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score texts, and the findings the labeler reads in them."""
        references = [sample.reference for sample in samples]
        answers = [conversation.answer for conversation in conversations]
        score_texts(sheet, answers, references)
        score_findings(sheet, answers, references)
