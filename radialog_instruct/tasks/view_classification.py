"""View classification: an image in, its projection out."""

from __future__ import annotations

from collections.abc import Iterator

from radialog_instruct.records import Sample, Study, TargetSource, View
from radialog_instruct.tasks.base import Skip, Task

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

    def samples(self, study: Study) -> Iterator[Sample | Skip]:
        """Yield one sample an image whose view is one of the four."""
        if not study.images:
            yield Skip("no image")
        for image in study.images:
            answer = VIEW_ANSWERS.get(image.view) if image.view is not None else None
            if answer is None:
                yield Skip(f"view {image.view.value if image.view else 'unknown'} is none of the four")
                continue
            yield self.sample(study, image, answer, history=self.report_turns(study))
