"""IU-Xray: the Indiana University chest X-rays, from Open-i's XML archive, Kaggle's tables, or both.

Reports come from the XML files (the ``.tgz`` or its unpacked folder) where there are any, else from
``indiana_reports.csv``. Views come from ``indiana_projections.csv`` alone: the DICOM headers call laterals by wrong
names. Splits come from R2Gen's ``annotation.json``. Image ids are looked up and never taken apart: they are irregular.
The collection knows no patients; one study is taken as one patient.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.records import Image, Sections, Split, Study, Terms, View
from radialog_instruct.sources.base import KeepSubject, fold, hashed_split, rule_labels
from radialog_instruct.sources.openi_xml import XmlReport, read_xml_reports

if TYPE_CHECKING:
    import pandas as pd

ARCHIVE, XML_FOLDER = "NLMCXR_reports.tgz", "ecgen-radiology"
REPORTS, PROJECTIONS, ANNOTATION = "indiana_reports.csv", "indiana_projections.csv", "annotation.json"
IMAGE_FOLDERS = ("images/images_normalized", "images_normalized", "images", "NLMCXR_png", ".")
"""Where image files are looked for, under Kaggle's and under Open-i's names."""
_SAFE_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]*")
_VIEWS = {"Frontal": View.FRONTAL, "Lateral": View.LATERAL}
_R2GEN_SPLITS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}


@dataclass(frozen=True, slots=True)
class _Projection:
    filename: str
    view: View


_Tables = tuple[dict[str, list[_Projection]], list[XmlReport], dict[str, Split]]


class IUXrayReader:
    """Reads IU-Xray.

    Args:
        root: Folder that holds the archive or the tables.
        split_file: Split source in R2Gen's format, relative to the root; ``annotation.json`` where it exists.

    Raises:
        UsageError: If no root is given.
        DataError: If the root holds no reports.
    """

    name = "iu-xray"
    terms = Terms.NO_DERIVATIVES

    def __init__(self, root: Path | None, split_file: str | None = None) -> None:
        if root is None:
            raise UsageError("iu-xray needs its folder", where="--root", mend=f"give the folder of {ARCHIVE}")
        if not root.is_dir():
            raise DataError("no such folder", where=str(root), mend="check --root")
        self.root = root
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self._file_rejected: Counter[str] = Counter()
        self._file_notes: Counter[str] = Counter()
        self._read: _Tables | None = None
        self._archive = next((root / n for n in (ARCHIVE, XML_FOLDER) if (root / n).exists()), None)
        self._reports = root / REPORTS if (root / REPORTS).is_file() else None
        self._projections = root / PROJECTIONS if (root / PROJECTIONS).is_file() else None
        self._splits = root / (split_file or ANNOTATION)
        if self._archive is None and self._reports is None:
            raise DataError(
                f"neither {ARCHIVE}, {XML_FOLDER}/ nor {REPORTS} found",
                where=str(root),
                mend="give the folder that holds the IU-Xray reports with --root",
            )
        if split_file is not None and not self._splits.is_file():
            raise DataError("no such split file", where=str(self._splits), mend="check split_file")

    def inputs(self) -> tuple[Path, ...]:
        """Return the reports, tables and the split file."""
        reports = self._archive or self._reports
        assert reports is not None
        xml = tuple(sorted(reports.glob("*.xml"))) if reports.is_dir() else (reports,)
        others = (self._projections, self._splits if self._splits.is_file() else None)
        return (*xml, *(path for path in others if path is not None))

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the studies, ordered by their number.

        Raises:
            DataError: If a file is damaged, lacks a column, or holds an id twice.
        """
        self.rejected, self.notes = Counter(), Counter()
        projections, reports, splits = self._tables()
        for report in reports:
            subject = f"iu-{report.study_id}"
            split = splits.get(report.study_id)
            if keep is not None and not keep(subject):
                continue
            if split is None and splits:
                self.notes["study outside the split file"] += 1
            yield Study(
                source=self.name,
                study_id=report.study_id,
                subject_id=subject,
                split=split or (Split.TRAIN if splits else hashed_split(subject, "iu-xray-split")),
                terms=self.terms,
                images=self._images(report, projections.get(report.study_id, [])),
                sections=report.sections,
                labels={"rules": rule_labels(report.sections)},
                official={self.name: split} if split is not None else {},
            )

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return what the files as a whole had rejected and remarked, once for all passes."""
        self._tables()
        return Counter(self._file_rejected), Counter(self._file_notes)

    def __len__(self) -> int:
        """Return the number of studies."""
        return len(self._tables()[1])

    def _tables(self) -> _Tables:
        """Read all files once: the collection is small, and unpacking it again for every shard is not."""
        if self._read is None:
            projections = self._read_projections()
            reports = sorted(self._read_reports(projections), key=lambda r: (len(r.study_id), r.study_id))
            self._read = projections, reports, self._read_splits(reports)
        return self._read

    def _read_reports(self, projections: dict[str, list[_Projection]]) -> Iterator[XmlReport]:
        if self._archive is not None:
            yield from read_xml_reports(self._archive, self._file_rejected)
            return
        assert self._reports is not None
        table = _read_table(self._reports, ("uid", "indication", "comparison", "findings", "impression"))
        seen: set[str] = set()
        for number, row in enumerate(table.to_dict("records"), start=2):
            uid = f"CXR{row['uid']}"
            if uid in seen:
                raise DataError(f"uid {row['uid']} occurs twice", where=f"{self._reports}:{number}", mend="remove one")
            seen.add(uid)
            sections = Sections(*(fold(row[n]) for n in ("indication", "comparison", "findings", "impression")))
            images = tuple(f"CXR{_stem(projection.filename)}" for projection in projections.get(uid, []))
            yield XmlReport(uid, images, sections)

    def _read_projections(self) -> dict[str, list[_Projection]]:
        by_study: dict[str, list[_Projection]] = {}
        if self._projections is None:
            return by_study
        table = _read_table(self._projections, ("uid", "filename", "projection"))
        for number, row in enumerate(table.to_dict("records"), start=2):
            view = _VIEWS.get(row["projection"])
            if view is None:
                where = f"{self._projections}:{number}"
                raise DataError(f"unknown projection {row['projection']!r}", where=where, mend="Frontal or Lateral")
            if not _SAFE_NAME.fullmatch(row["filename"]):
                where = f"{self._projections}:{number}"
                raise DataError(f"invalid file name {row['filename']!r}", where=where, mend="mend the row")
            by_study.setdefault(f"CXR{row['uid']}", []).append(_Projection(row["filename"], view))
        return by_study

    def _read_splits(self, reports: list[XmlReport]) -> dict[str, Split]:
        if not self._splits.is_file():
            return {}
        try:
            annotation = json.loads(self._splits.read_text(encoding="utf-8"))
            entries = [(entry["id"], split) for name, split in _R2GEN_SPLITS.items() for entry in annotation[name]]
        except (ValueError, KeyError, TypeError) as error:
            mend = "it must hold lists train, val and test of objects with an id"
            raise DataError(f"not an R2Gen annotation ({error})", where=str(self._splits), mend=mend) from error
        # An R2Gen id is the image ids' common beginning, so it is looked up among the beginnings that exist.
        studies = {
            image[:end]: report.study_id
            for report in reports
            for image in report.image_ids
            for end in range(len(image))
            if image[end] == "-"
        }
        splits: dict[str, Split] = {}
        for identifier, split in entries:
            study = studies.get(identifier)
            if study is None:
                self._file_notes["id of the split file without a report"] += 1
            elif splits.setdefault(study, split) is not split:
                where = f"{self._splits}: {identifier}"
                raise DataError(f"stands in the splits {splits[study]} and {split}", where=where, mend="remove one")
        return splits

    def _images(self, report: XmlReport, projections: list[_Projection]) -> tuple[Image, ...]:
        images = []
        unmatched = list(projections)
        for image_id in report.image_ids:
            projection = next((p for p in unmatched if _same_image(image_id, p.filename)), None)
            if projection is not None:
                unmatched.remove(projection)
            elif self._projections is not None:
                self.notes["image without a projection"] += 1
            names = ([projection.filename] if projection else []) + [f"{image_id}.png"]
            found = next(
                (self.root / f / n for f in IMAGE_FOLDERS for n in names if (self.root / f / n).is_file()), None
            )
            path = f"{IMAGE_FOLDERS[0]}/{projection.filename}" if projection else f"{image_id}.png"
            images.append(Image(image_id, path, projection.view if projection else None, found))
        if unmatched:
            self.notes["projection without an image of its study"] += len(unmatched)
        return tuple(sorted(images, key=lambda i: (not (i.view and i.view.is_frontal), i.image_id)))


def _stem(filename: str) -> str:
    return filename.removesuffix(".png").removesuffix(".dcm")


def _same_image(image_id: str, filename: str) -> bool:
    # Kaggle writes "1_IM-0001-4001", Open-i "CXR1_1_IM-0001-4001": within a study the series part decides.
    return image_id.endswith("_" + _stem(filename).partition("_")[2])


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    try:
        # A comparison of "None" is a text, so nothing may be taken for a missing value.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), mend="fetch the file again") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"column {missing[0]!r} is missing", where=f"{path}:1", mend=f"columns needed: {columns}")
    return table
