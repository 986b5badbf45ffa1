"""Impression generation: a report's findings in, its impression out."""

from __future__ import annotations

from collections.abc import Iterator

from radialog_instruct.records import Sample, Study, TargetSource
from radialog_instruct.tasks.base import Skip, Task, images_or_text_only


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

    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield one sample an image, or a text-only one for a study without images."""
        history = self.report_turns(study)
        impression = study.sections.impression
        if impression is None or not history:
            yield Skip("no impression section" if history else "no findings section")
            return
        for image in images_or_text_only(study):
            yield self.sample(study, image, impression, history=history)
