"""MIMIC-CXR: images, splits, views and labels from MIMIC-CXR-JPG, reports from MIMIC-CXR.

Two PhysioNet projects make one source: MIMIC-CXR-JPG (2.0.0 or 2.1.0) holds the images and tables but no reports,
MIMIC-CXR the reports. Study and patient numbers become strings without their letter, as in the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.findings import Labels, LabelValue
from radialog_instruct.records import Image, Sections, Study, Terms, View
from radialog_instruct.sources.base import KeepSubject, rule_labels
from radialog_instruct.sources.mimic_tables import (
    BLANK,
    LABEL_TABLES,
    METADATA_TABLE,
    SPLIT_TABLE,
    SPLITS,
    VIEWS,
    MimicIndex,
    read_index,
)
from radialog_instruct.sources.report_files import find_reports
from radialog_instruct.sources.sections import parse_report

_LABELS: dict[bytes, Labels] = {}
"""Label tuples by the bytes of their row: a few thousand patterns serve all studies."""


class MimicCxrReader:
    """Reads MIMIC-CXR.

    Args:
        root: MIMIC-CXR-JPG's folder, with the tables and ``files``.
        reports: MIMIC-CXR's ``mimic-cxr-reports.zip`` or the folder it was unpacked to; None looks below the root.
        labeler: The labeler that will be asked for; ``"rules"`` labels each report on the way, others cost nothing.
        locate_images: Whether to look on disk for every image.

    Raises:
        UsageError: If no root is given.
        DataError: If a table or the reports are missing or damaged.
    """

    name = "mimic-cxr"
    terms = Terms.CREDENTIALED

    def __init__(
        self,
        root: Path | None,
        *,
        reports: Path | None = None,
        labeler: str | None = None,
        locate_images: bool = True,
    ) -> None:
        if root is None:
            raise UsageError("mimic-cxr needs its folder", where="--root", mend="give MIMIC-CXR-JPG's folder")
        if not root.is_dir():
            raise DataError("no such folder", where=str(root), mend="check --root")
        self.root = root
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self._rules = labeler == "rules"
        self._locate = locate_images and (root / "files").is_dir()
        self._index: MimicIndex = read_index(root, tuple(LABEL_TABLES))
        self._reports = find_reports(reports, root)

    def __len__(self) -> int:
        """Return the number of studies."""
        return len(self._index)

    def inputs(self) -> tuple[Path, ...]:
        """Return the tables and the report files."""
        tables = (SPLIT_TABLE, METADATA_TABLE, *LABEL_TABLES.values())
        return (*(path for name in tables if (path := self.root / name).is_file()), *self._reports.inputs())

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return what the tables and the archive as a whole had rejected and remarked, once for all passes."""
        return Counter(self._reports.rejected), Counter(self._index.notes)

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the studies, ordered by patient and number.

        Raises:
            DataError: If a report file is damaged.
        """
        self.rejected, self.notes = Counter(), Counter()
        index = self._index
        labels = [(name, index.labels[name], index.labelled[name]) for name in index.labels]
        for at, subject in self._wanted(keep):
            study, subject_id = int(index.studies[at]), str(subject)
            split = index.splits[at]
            sections = self._sections(subject, study)
            by_labeler = {name: _labels(values[at].tobytes()) for name, values, known in labels if known[at]}
            if self._rules and sections is not None:
                by_labeler["rules"] = rule_labels(sections)
            yield Study(
                source=self.name,
                study_id=str(study),
                subject_id=subject_id,
                split=SPLITS[split],
                terms=self.terms,
                images=self._images(at, subject, study),
                sections=sections or Sections(),
                labels=by_labeler,
                official={self.name: SPLITS[split]},
            )

    def _wanted(self, keep: KeepSubject | None) -> Iterator[tuple[int, int]]:
        """Yield position and patient of the wanted studies, asking once for every patient."""
        patients, first = np.unique(self._index.subjects, return_index=True)
        ends = [*first[1:].tolist(), len(self._index)]
        for patient, start, end in zip(patients.tolist(), first.tolist(), ends, strict=True):
            if keep is None or keep(str(patient)):
                for at in range(start, end):
                    yield at, patient

    def _sections(self, subject: int, study: int) -> Sections | None:
        data = self._reports.read(subject, study)
        if data is None:
            self.notes["study without a report file"] += 1
            return None
        try:
            return parse_report(data.decode("utf-8"), str(study))
        except UnicodeDecodeError:
            # Guessing an encoding would put wrong letters into a target; the study keeps its images.
            self.rejected["report is not UTF-8 text"] += 1
            return None

    def _images(self, at: int, subject: int, study: int) -> tuple[Image, ...]:
        index = self._index
        images = []
        own = slice(index.first_image[at], index.first_image[at + 1])
        folder = f"files/p{subject // 1_000_000}/p{subject}/s{study}"
        for name, view in zip(index.images[own].tolist(), index.views[own].tolist(), strict=True):
            image_id = name.decode()
            path = f"{folder}/{image_id}.jpg"
            file = self.root / path if self._locate else None
            found = file if file is not None and file.is_file() else None
            images.append(Image(image_id, path, VIEWS[view], found))
        if len(images) > 1:
            images.sort(key=_frontal_first)
        return tuple(images)


def _frontal_first(image: Image) -> tuple[bool, str]:
    return image.view not in (View.AP, View.PA), image.image_id


def _labels(row: bytes) -> Labels:
    known = _LABELS.get(row)
    if known is None:
        values = (value - 256 if value > 127 else value for value in row)
        known = _LABELS[row] = tuple(cast("LabelValue", None if value == BLANK else value) for value in values)
    return known
