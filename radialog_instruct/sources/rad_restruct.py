"""Rad-ReStruct on its own: structured reports without report texts, as a benchmark needs them.

A build attaches Rad-ReStruct to iu-xray instead, whose studies these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.errors import UsageError
from radialog_instruct.records import Image, Study, Terms
from radialog_instruct.sources.base import KeepSubject

IMAGES = "images"


class RadReStructReader:
    """Reads Rad-ReStruct's folder.

    Images are looked for in its ``images`` folder, as ``<image id>.png``.

    Args:
        root: The authors' repository, or its ``data/radrestruct``.

    Raises:
        UsageError: If no root is given.
        DataError: If a file is missing or damaged.
    """

    name = "rad-restruct"
    terms = Terms.NO_DERIVATIVES

    def __init__(self, root: Path | None) -> None:
        if root is None:
            raise UsageError("rad-restruct needs its folder", where="--root", mend="give the folder of train_ids.json")
        self._annotation = RadReStruct(root)
        self.root = self._annotation.folder
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of studies."""
        return len(self._annotation)

    def inputs(self) -> tuple[Path, ...]:
        """Return the annotation's files."""
        return self._annotation.inputs()

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return two empty counters: what does not fit is an error."""
        return Counter(), Counter()

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the studies, ordered by their number.

        Raises:
            DataError: If a file of questions is missing or damaged.
        """
        for study in self._annotation.studies_without_report((), keep, self.terms):
            yield replace(study, images=tuple(self._found(image) for image in study.images))

    def _found(self, image: Image) -> Image:
        file = self.root / IMAGES / f"{image.image_id}.png"
        return replace(image, file=file if file.is_file() else None)
