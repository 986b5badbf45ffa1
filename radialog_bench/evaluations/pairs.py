"""Pairs: texts made anywhere against their references, with the metrics of report generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from radialog_bench.chat import Request
from radialog_bench.evaluations.base import Conversation, EvalSample, Evaluation, LeftOut
from radialog_bench.evaluations.texts import score_findings, score_texts
from radialog_bench.sheet import Sheet
from radialog_instruct.records import Image, Study

NO_IMAGE = Image("", "", None, None)


class Pairs(Evaluation):
    """Score the texts of a file against the references beside them.

    Dialog: none; the file holds the answers.
    Reference: the file's.
    Metrics: the text metrics; CE by the run's labeler.
    """

    name = "pairs"
    version = 1
    headline = "ce_macro_f1"

    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Refuse: the samples are the lines of a file, see ``radialog_bench.pairs``."""
        raise NotImplementedError("pairs come from a file, not from studies")

    def request(self, sample: EvalSample) -> Request:
        """Ask for the file's answer."""
        return self.question(sample, self.name, "text", "The text of the file.")

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score texts, and the findings the labeler reads in them."""
        references = [sample.reference for sample in samples]
        answers = [conversation.answer for conversation in conversations]
        score_texts(sheet, answers, references)
        score_findings(sheet, answers, references)
