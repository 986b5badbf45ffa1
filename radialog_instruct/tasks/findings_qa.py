"""Findings QA in its two modes: list all findings, or answer yes or no for one of them."""

from __future__ import annotations

from collections.abc import Iterator

from radialog_instruct.findings import FINDINGS, NO_FINDING, POSITIVE, UNCERTAIN, findings_text, positives
from radialog_instruct.records import Sample, Study, TargetSource
from radialog_instruct.tasks.balance import question_rank
from radialog_instruct.tasks.base import Skip, Task, images_or_text_only

ASKED_FINDINGS = tuple(name for name in FINDINGS if name != NO_FINDING)
"""The classes of binary questions; "No Finding" is derived from the other 13 and never asked."""


class FindingsQAComplete(Task):
    """List every finding of the study.

    Input: the image, and the reference findings as turn 1.
    Output: the positive classes as a lower-case comma list, or "no common findings": never an empty answer.
    Source: the paper, appendix C.1; labels by the build's labeler.
    """

    name = "findings_qa_complete"
    legacy_code = "CPaQA"
    template = "findings_qa_complete"
    target_source = TargetSource.LABEL

    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield one sample an image, or a text-only one for a study without images."""
        history, labels = self.report_turns(study), self.labels(study)
        if labels is None or not history:
            yield Skip("no labels" if history else "no findings section")
            return
        answer = findings_text(positives(labels))
        for image in images_or_text_only(study):
            yield self.sample(study, image, answer, history=history, labeler=self.context.labeler)


class FindingsQABinary(Task):
    """Answer yes or no for one finding.

    Input: the image, and the reference findings as turn 1.
    Output: "yes" for a positive class, "no" for a negative or unmentioned one. An uncertain class is not asked: the
    released dataset turned it into "no".
    Source: the paper, appendix C.1; labels by the build's labeler; the balance is described in ``tasks.balance``.
    """

    name = "findings_qa_binary"
    legacy_code = "CPbQA"
    template = "findings_qa_binary"
    target_source = TargetSource.LABEL

    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield the kept questions of each image, or of the text alone for a study without images."""
        history, labels = self.report_turns(study), self.labels(study)
        if labels is None or not history:
            yield Skip("no labels" if history else "no findings section")
            return
        by_name = dict(zip(FINDINGS, labels, strict=True))
        for image in images_or_text_only(study):
            for finding in ASKED_FINDINGS:
                if by_name[finding] == UNCERTAIN:
                    yield Skip("uncertain label")
                    continue
                answer = by_name[finding] == POSITIVE
                rank = question_rank(self.context.seed, study, image, finding)
                if not self.context.balance.keeps(study.split, finding, answer, rank):
                    yield Skip("left out to balance yes and no")
                    continue
                yield self.sample(
                    study,
                    image,
                    "yes" if answer else "no",
                    history=history,
                    slot=finding,
                    labeler=self.context.labeler,
                    finding=finding.lower(),
                )
