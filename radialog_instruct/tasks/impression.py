"""Impression generation: a report's findings in, its impression out."""

from __future__ import annotations

from collections.abc import Iterator

from radialog_instruct.records import Sample, Split, Study, TargetSource
from radialog_instruct.tasks.base import Skip, Slot, Task, is_placeholder


class Impression(Task):
    """Write the impression that belongs to the findings in the history.

    Input: the image, and the reference findings as turn 1.
    Output: the impression section of the reference report.
    Source: the paper, appendix C.1.
    """

    name = "impression"
    legacy_code = "IM"
    template = "impression"
    target_source = TargetSource.REPORT
    answer_may_stand_in = frozenset({"report"})  # a short impression often repeats a sentence of the findings

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an image, or a text-only one for a study without images."""
        if study.sections.findings is None or study.sections.impression is None:
            yield Skip("no findings section" if study.sections.findings is None else "no impression section")
            return
        if is_placeholder(study.sections.impression):
            yield Skip("the impression says nothing")
            return
        for image in self.images_or_text_only(study):
            yield Slot(image, rank=self.rank(study, image))

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog about the report."""
        history = self.report_turns(study)
        return self.sample(study, slot, split, study.sections.impression or "", history=history, report_turn=1)
