"""Summarization: a report in fewer words."""

from __future__ import annotations

from radialog_instruct.findings import POSITIVE, UNCERTAIN
from radialog_instruct.records import Sample
from radialog_instruct.replay.validate import Verdict, overlap
from radialog_instruct.tasks.replayed import ReportTask, finding_indices

_SHORT_REPORT = 25
"""A report of fewer words can hardly be said in fewer still."""


class Summarization(ReportTask):
    """Sum up a report in the form the instruction asks for: a sentence, bullet points, a few words.

    Input: the image, and the reference findings as turn 1.
    Output: a summary, written by an LLM from the report.
    Accepted: shorter than the report, with a finding where the report has some, and nothing against the report.
    Source: the paper, appendix C.1.
    """

    name = "summarization"
    legacy_code = "SU"
    template = "summarization"
    min_words, max_words, max_tokens = 4, 150, 224

    def _findings(self, text: str) -> bool:
        labels = self.judged(text)
        return any(labels[index] in (POSITIVE, UNCERTAIN) for index in finding_indices())

    def accept(self, text: str, sample: Sample) -> Verdict:
        """Judge an answer."""
        report = sample.study.sections.findings or ""
        verdict = self.check(text, sample)
        if len(verdict.text.split()) >= max(len(report.split()), _SHORT_REPORT):
            verdict = verdict.because("not shorter than the report")
        elif overlap(verdict.text, report) == 1 and overlap(report, verdict.text) == 1:
            verdict = verdict.because("copies the report")
        if self._findings(report) and not self._findings(verdict.text):
            verdict = verdict.because("leaves out every finding")
        return verdict.because(*self.contradictions(verdict.text, report))
