"""The demonstration collection: openly licensed chest X-rays with synthetic reports.

Without a root it is the embedded selection, small enough to ship. With one (``--root``) it is the whole open collection
that the selection was taken from: NIH ChestX-ray14 (a subset), Hannover's COVID-19 ward X-rays, and one CC0 image, with
the same ids, patients and splits. Every image is a study of its own. docs/data.md says where all of it comes from.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from radialog_instruct.findings import FINDINGS, POSITIVE, UNCERTAIN, Labels, LabelValue, make_labels
from radialog_instruct.records import Image, Sections, Split, Study, Terms, View
from radialog_instruct.sources.base import KeepSubject, hashed_split, rule_labels
from radialog_instruct.sources.demo_text import POSSIBLE_PNEUMONIA, compose_report, explain

STUDIES, VISUAL, STRUCTURED = "studies.csv", "visual_labels.csv", "rad_restruct"
NIH, HANNOVER, CC0 = "nih_chestxray14", "hannover_cxr", "cc0"
_NIH_CLASSES = {
    "Effusion": "Pleural Effusion",
    "Infiltration": "Lung Opacity",
    "Pleural_Thickening": "Pleural Other",
}
_CLASS_OF = {"Nodule": "Lung Lesion", "Mass": "Lung Lesion", "Fibrosis": "Lung Opacity"}
"""NIH labels that say more than the class they belong to; the report keeps the finer word."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One image of the collection with what is known of it."""

    study_id: str
    subject_id: str
    view: View
    present: tuple[str, ...]
    path: str


class DemoReader:
    """Reads the embedded demonstration collection, or the whole open collection under a root.

    Args:
        root: Folder with ``nih_chestxray14``, ``hannover_cxr`` and ``cc0``, or None for the embedded selection.

    Raises:
        DataError: If a table is missing or lacks a column.
    """

    name = "demo"
    terms = Terms.OPEN

    def __init__(self, root: Path | None = None) -> None:
        self._embedded = demo_dir()
        self._whole = root is not None
        self.root = root if root is not None else self._embedded
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        if not self.root.is_dir():
            raise DataError("no such folder", where=str(self.root), mend="check --root")
        self._structured = RadReStruct(self._embedded / STRUCTURED)
        for path in self.inputs():
            if not path.exists():
                raise DataError("a table of the open collection is missing", where=str(path), mend="check --root")

    def inputs(self) -> tuple[Path, ...]:
        """Return the tables."""
        embedded = (self._embedded / STUDIES, self._embedded / VISUAL, *self._structured.inputs())
        if not self._whole:
            return embedded
        nih = (self.root / NIH / "labels.csv", self.root / NIH / "google2019_subset.csv")
        return (*nih, self.root / HANNOVER / "index.csv", *embedded)

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return two empty counters: the collection is complete."""
        return Counter(), Counter()

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the studies, ordered by id.

        Raises:
            DataError: If a table lacks a column or holds an id twice.
        """
        self.rejected, self.notes = Counter(), Counter()
        written = {row["study_id"]: row for row in _rows(self._embedded / STUDIES)}
        numbers = self._structured.by_image()
        splits = {row["subject_id"]: Split(row["split"]) for row in written.values()}
        entries = self._open_collection() if self._whole else (_embedded_entry(row) for row in written.values())
        for entry in sorted(entries, key=lambda e: e.study_id):
            if keep is not None and not keep(entry.subject_id):
                continue
            row = written.get(entry.study_id)
            sections = (
                Sections(findings=row["findings"], impression=row["impression"])
                if row is not None
                else compose_report(entry.study_id, entry.present)
            )
            file = self.root / entry.path
            report = numbers.get(entry.study_id)
            yield Study(
                source=self.name,
                study_id=entry.study_id,
                subject_id=entry.subject_id,
                split=splits.get(entry.subject_id) or hashed_split(entry.subject_id, "demo-split"),
                terms=self.terms,
                images=(Image(entry.study_id, entry.path, entry.view, file if file.is_file() else None),),
                sections=sections,
                labels={"rules": rule_labels(sections), "public": public_labels(entry.present)},
                structured=self._structured.structured(report) if report is not None else None,
                explanations=explain(entry.study_id, sections.findings or ""),
            )

    def _open_collection(self) -> Iterator[_Entry]:
        visual = {row["study_id"]: _names(row["present"]) for row in _rows(self._embedded / VISUAL)}
        fractured = {
            row["Image Index"]
            for row in _rows(self.root / NIH / "google2019_subset.csv")
            if _column(row, "Fracture", self.root / NIH) == "YES"
        }
        seen: set[str] = set()
        for entry in (*self._nih(fractured), *self._hannover(), _CC0_ENTRY):
            if entry.study_id in seen:
                raise DataError("an image is listed twice", where=f"{self.root}: {entry.study_id}", mend="remove one")
            seen.add(entry.study_id)
            more = tuple(name for name in visual.get(entry.study_id, ()) if name not in entry.present)
            yield _Entry(entry.study_id, entry.subject_id, entry.view, (*entry.present, *more), entry.path)

    def _nih(self, fractured: set[str]) -> Iterator[_Entry]:
        table = self.root / NIH / "labels.csv"
        for row in _rows(table):
            index = _column(row, "Image Index", table)
            labels = [name for name in _column(row, "Finding Labels", table).split("|") if name != "No Finding"]
            present = tuple(_NIH_CLASSES.get(name, name) for name in labels)
            stem = index.removesuffix(".png")
            yield _Entry(
                f"nih-{stem}",
                f"nih-{_column(row, 'Patient ID', table)}",
                View(_column(row, "View Position", table)),
                (*present, "Fracture") if index in fractured else present,
                f"{NIH}/images/{stem}.jpg",
            )

    def _hannover(self) -> Iterator[_Entry]:
        table = self.root / HANNOVER / "index.csv"
        for row in _rows(table):
            file = _column(row, "file", table)
            yield _Entry(
                Path(file).stem.replace("_", "-"),
                f"hannover-{_column(row, 'patient_id', table)}",
                View(_column(row, "view", table)),
                ("Lung Opacity", POSSIBLE_PNEUMONIA),
                f"{HANNOVER}/{file}",
            )


_CC0_ENTRY = _Entry("cc0-pa", "cc0-1", View.PA, (), f"{CC0}/Chest_Xray_PA_3-8-2010_512.jpg")


def public_labels(present: tuple[str, ...]) -> Labels:
    """Map what the public tables say of an image to the 14 classes.

    Absence in a table is no negative mention, so it stays blank. "No Finding" is positive when nothing but devices is
    present.

    Args:
        present: As for ``compose_report``.
    """
    values: dict[str, LabelValue] = {}
    for name in present:
        known = _CLASS_OF.get(name, name)
        if known in FINDINGS:
            values[known] = POSITIVE
    if POSSIBLE_PNEUMONIA in present:
        values.setdefault("Pneumonia", UNCERTAIN)
    if not set(present) - {"Support Devices"}:
        values["No Finding"] = POSITIVE
    return make_labels(values)


def _embedded_entry(row: dict[str, str]) -> _Entry:
    path = f"images/{row['study_id']}.jpg"
    return _Entry(row["study_id"], row["subject_id"], View(row["view"]), _names(row["present"]), path)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split("|") if name)


def _column(row: dict[str, str], column: str, table: Path) -> str:
    try:
        return row[column]
    except KeyError as error:
        raise DataError(f"column {column!r} is missing", where=f"{table}:1", mend="fetch the table again") from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), mend="check the file") from error
