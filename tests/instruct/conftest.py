"""Studies made of invented text, for tests of everything behind the readers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from radialog_instruct.findings import LabelValue, make_labels
from radialog_instruct.records import Image, Sections, Split, Study, Terms, View

MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study() -> MakeStudy:
    """Return a factory of studies with one PA image, both sections and rule labels."""

    def make(
        study_id: str = "s1",
        *,
        views: tuple[View | None, ...] = (View.PA,),
        findings: str | None = "The heart is enlarged. No pleural effusion.",
        impression: str | None = "Cardiomegaly.",
        split: Split = Split.TRAIN,
        labels: dict[str, LabelValue] | None = None,
    ) -> Study:
        images = tuple(
            Image(f"{study_id}-{i}", f"images/{study_id}-{i}.jpg", view, None) for i, view in enumerate(views)
        )
        values = {"Cardiomegaly": 1, "Pleural Effusion": 0} if labels is None else labels
        return Study(
            source="test",
            study_id=study_id,
            subject_id=f"p-{study_id}",
            split=split,
            terms=Terms.OPEN,
            images=images,
            sections=Sections(findings=findings, impression=impression),
            labels={"rules": make_labels(values)},
        )

    return make
