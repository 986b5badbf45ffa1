"""View classification: an image in, its projection out."""

from __future__ import annotations

from collections.abc import Iterator

from radialog_instruct.records import Sample, Split, Study, TargetSource, View
from radialog_instruct.tasks.base import Skip, Slot, Task

VIEW_ANSWERS = {View.AP: "AP", View.PA: "PA", View.LL: "LL", View.LATERAL: "lateral"}
"""The four views of the task and how they are answered."""


class ViewClassification(Task):
    """Name the projection of an image.

    Input: the image; the reference findings as turn 1 where there are any, so that context dropping can vary them.
    Output: AP, PA, LL or lateral.
    Source: the paper, appendix C.1; the view of the source's metadata.
    """

    name = "view_classification"
    legacy_code = "VC"
    template = "view_classification"
    target_source = TargetSource.LABEL
    answer_may_stand_in = frozenset({"report", "instruction"})  # both may name projections

    def slots(self, study: Study) -> Iterator[Slot | Skip]:
        """Yield one slot an image whose view is one of the four."""
        if not study.images:
            yield Skip("no image")
        for image in self.images(study):
            if image.view in VIEW_ANSWERS:
                yield Slot(image, rank=self.rank(study, image))
            else:
                yield Skip(f"view {image.view.value if image.view else 'unknown'} is none of the four")

    def make(self, study: Study, slot: Slot, split: Split) -> Sample:
        """Make the dialog, about the report where there is one."""
        assert slot.image is not None and slot.image.view is not None
        history = self.report_turns(study)
        answer = VIEW_ANSWERS[slot.image.view]
        return self.sample(study, slot, split, answer, history=history, report_turn=1 if history else None)
