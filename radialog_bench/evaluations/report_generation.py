"""Report generation: an image in, the findings section out."""

from __future__ import annotations

from collections.abc import Sequence

from radialog_bench.evaluations.base import REPORT, Conversation, EvalSample, ReportDialog
from radialog_bench.evaluations.texts import score_findings, score_texts
from radialog_bench.sheet import Sheet


class ReportGeneration(ReportDialog):
    """Write the findings section for each frontal image of the studies that have one.

    Dialog: the published report prompt without its findings text, which an adapter may add. Greedy, 300 new tokens.
    Reference: the findings section, newlines removed.
    Metrics: the text metrics; CE by the run's labeler. Source: the paper, section 4.
    """

    name = REPORT
    version = 1
    headline = "ce_macro_f1"

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score texts, and the findings the labeler reads in them."""
        references = [sample.reference for sample in samples]
        answers = [conversation.answer for conversation in conversations]
        score_texts(sheet, answers, references)
        score_findings(sheet, answers, references)
