"""Easy language: a report in words a patient understands."""

from __future__ import annotations

from radialog_instruct.records import Sample
from radialog_instruct.replay.validate import Verdict, overlap
from radialog_instruct.tasks.replayed import ReportTask

_COPIED = 0.6
"""An answer with more than this share of its four-word runs in the report has hardly been put into other words."""


class EasyLanguage(ReportTask):
    """Say what a report says, for somebody who is no doctor.

    Input: the image, and the reference findings as turn 1.
    Output: a plain explanation, written by an LLM from the report.
    Accepted: other words than the report's, and nothing against the report.
    Source: the paper, appendix C.1.
    """

    name = "easy_language"
    legacy_code = "EL"
    template = "easy_language"
    min_words, max_words, max_tokens = 12, 220, 320

    def accept(self, text: str, sample: Sample) -> Verdict:
        """Judge an answer."""
        report = sample.study.sections.findings or ""
        verdict = self.check(text, sample)
        if overlap(verdict.text, report) > _COPIED:
            verdict = verdict.because("copies the report")
        return verdict.because(*self.contradictions(verdict.text, report))
