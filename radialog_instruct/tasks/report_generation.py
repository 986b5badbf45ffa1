"""Report generation: an image in, the findings section out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from radialog_instruct.findings import NO_FINDING, POSITIVE, index_of
from radialog_instruct.records import Sample, Split, Study, TargetSource
from radialog_instruct.tasks.base import Skip, Slot, Task, is_placeholder

_NORMAL, _ABNORMAL = "no finding", "finding"
_NO_FINDING_INDEX = index_of(NO_FINDING)


class ReportGeneration(Task):
    """Write the findings section for one image.

    Input: the image, with ``indication`` also the indication; the processor adds the findings text to turn 1.
    Output: the findings section of the reference report.
    Share: reports labelled "No Finding" make up ``no_finding_fraction`` of all, as in the released code.
    Source: the paper, appendix C.1.
    """

    name = "report_generation"
    legacy_code = "RG"
    template = "report_generation"
    target_source = TargetSource.REPORT

    @property
    def is_thinned(self) -> bool:
        """Whether some slots may be dropped."""
        return self.mix.share is not None or self.mix.no_finding_fraction is not None

    def allocate(self, counts: Mapping[str, int], units: int) -> dict[str, int]:
        """Cut reports without findings to their fraction."""
        kept = super().allocate(counts, units)
        if self.mix.no_finding_fraction is not None and _NORMAL in kept:
            fraction = Fraction(self.mix.no_finding_fraction).limit_denominator(10_000)
            kept[_NORMAL] = min(kept[_NORMAL], round(kept.get(_ABNORMAL, 0) * fraction / (1 - fraction)))
        return kept

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an image."""
        if study.sections.findings is None:
            yield Skip("no findings section")
            return
        if is_placeholder(study.sections.findings):
            yield Skip("the findings section says nothing")
            return
        if not study.images:
            yield Skip("no image")
        labels = self.labels(study)
        normal = labels is not None and labels[_NO_FINDING_INDEX] == POSITIVE
        for image in self.images(study):
            yield Slot(image, stratum=_NORMAL if normal else _ABNORMAL, rank=self.rank(study, image))

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog of one turn pair."""
        indication = study.sections.indication if self.mix.indication else None
        return self.sample(study, slot, split, study.sections.findings or "", indication=indication)
