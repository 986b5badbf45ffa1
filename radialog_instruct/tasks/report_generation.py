"""Report generation: an image in, the findings section out."""

from __future__ import annotations

from collections.abc import Iterator

from radialog_instruct.records import Sample, Study, TargetSource
from radialog_instruct.tasks.base import Skip, Task


class ReportGeneration(Task):
    """Write the findings section for one image.

    Input: the image; the processor adds the findings text to turn 1.
    Output: the findings section of the reference report.
    Source: the paper, appendix C.1.
    """

    name = "report_generation"
    legacy_code = "RG"
    template = "report_generation"
    target_source = TargetSource.REPORT

    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield one sample an image."""
        findings = study.sections.findings
        if findings is None:
            yield Skip("no findings section")
            return
        if not study.images:
            yield Skip("no image")
        for image in study.images:
            yield self.sample(study, image, findings)
