"""Writes a synthetic MIMIC tree: the exact layout of MIMIC-CXR-JPG, MIMIC-CXR and MIMIC-NLE with invented content.

Ids, sentences and pixels are invented; the first studies show every corner case of the real files once, the others
follow the real proportions roughly. The tree depends on the number of studies alone.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import IO, Literal

from radialog_instruct.annotations.mimic_nle import NLE_FINDINGS
from radialog_instruct.errors import UsageError
from radialog_instruct.files import replacing, unwritable
from radialog_instruct.findings import FINDINGS
from radialog_instruct.sources.mimic_tables import LABEL_TABLES, METADATA_TABLE, SPLIT_TABLE
from radialog_instruct.sources.report_files import REPORTS_ZIP
from radialog_instruct.synth.mimic_text import LAYOUTS, Dice, InventedReport, invent_report

JPG_FOLDER, REPORTS_FOLDER, NLE_FOLDER = "mimic-cxr-jpg", "mimic-cxr", "mimic-nle"
_LABEL_COLUMNS = tuple(sorted(FINDINGS))
_VIEWS = ("AP", "PA", "LATERAL", "LL", "AP", "PA", "LATERAL", "AP")
_RARE_VIEWS = ("", "AP AXIAL", "LPO", "XTABLE LATERAL", "SWIMMERS")
_NOTICE = "Invented data in the layout of MIMIC-CXR: no patient, no report and no image of it is real.\n"


class Images(StrEnum):
    """Which image files are written."""

    NONE = "none"
    TINY = "tiny"
    """Grey JPEGs of 32 x 32 pixels."""


@dataclass(frozen=True, slots=True)
class _InventedStudy:
    number: int
    subject: int
    study: int
    split: str
    images: tuple[tuple[str, str], ...]
    """(DICOM id, ViewPosition) of each image."""
    report: InventedReport
    corner: str


CORNERS = (*LAYOUTS, "report missing", "report in latin-1", "no chexpert row", "no image row in metadata", "no view")
"""What the first studies show, one each; all of them belong to patients of the train split."""


def write_mimic_tree(
    out: Path,
    n_studies: int,
    *,
    images: Images = Images.TINY,
    reports: Literal["zip", "tree"] = "zip",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write the tree.

    Args:
        out: A folder that is empty or new; it gets ``mimic-cxr-jpg``, ``mimic-cxr`` and ``mimic-nle``.
        n_studies: Number of studies, at least 40 so that every corner case and every split occurs.
        images: Which image files to write.
        reports: Whether the reports lie in ``mimic-cxr-reports.zip`` or unpacked.
        progress: Told about finished and all studies.

    Raises:
        UsageError: If the folder holds files or cannot be written, or the number is too small.
    """
    if n_studies < 40:
        raise UsageError(f"{n_studies} studies do not show every case", where="--studies", mend="ask for at least 40")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UsageError("the folder holds other files", where=str(out), mend="choose an empty or new folder")
        with _Tree(out, images, reports) as tree:
            for study in _invent(n_studies):
                tree.add(study)
                progress(study.number + 1, n_studies)
    except OSError as error:
        raise unwritable(out, error) from error


def _invent(n: int) -> Iterator[_InventedStudy]:
    n_patients = max(1, round(n / 3.5))
    step = 9_999_000 // n_patients
    patient, left = -1, 0
    for number in range(n):
        dice = Dice(f"study|{number}")
        if left == 0:
            # Patients have one to six studies; the last of them share what is left.
            patient, left = min(patient + 1, n_patients - 1), 1 + dice.roll(6)
        left -= 1
        corner = CORNERS[number] if number < len(CORNERS) else ""
        layout = corner if corner in LAYOUTS else _common_layout(dice)
        study = 50_000_001 + (number * 9_973) % 9_999_991
        yield _InventedStudy(
            number=number,
            subject=10_000_001 + patient * step,
            study=study,
            split=_split(patient, n_patients),
            images=_images(dice, number, corner),
            report=invent_report(str(number), layout),
            corner=corner,
        )


def _common_layout(dice: Dice) -> str:
    roll = dice.roll(1000)
    for limit, layout in ((560, "both"), (640, "findings only"), (860, "impression only"), (930, "view title")):
        if roll < limit:
            return layout
    for limit, layout in ((970, "no header"), (985, "de-identified"), (992, "addendum"), (1000, "joint header")):
        if roll < limit:
            return layout
    return "both"


def _split(patient: int, n_patients: int) -> str:
    if patient < len(CORNERS) and n_patients >= 400:
        return "train"
    # Real proportions for large trees; the last patients of a small one still fill both held-out splits.
    if n_patients < 400:
        from_end = n_patients - 1 - patient
        return "test" if from_end < n_patients // 6 else "validate" if from_end < n_patients // 3 else "train"
    percent = Dice(f"split|{patient}").roll(1000)
    return "test" if percent < 14 else "validate" if percent < 22 else "train"


def _images(dice: Dice, number: int, corner: str) -> tuple[tuple[str, str], ...]:
    count = (1, 2, 1, 2, 2, 1, 3, 2, 1, 1)[dice.roll(10)]
    images = []
    for index in range(count):
        digest = blake2b(f"image|{number}|{index}".encode(), digest_size=20).hexdigest()
        name = "-".join(digest[start : start + 8] for start in range(0, 40, 8))
        rare = dice.roll(1000) < 4
        view = dice.choose(_RARE_VIEWS if rare else _VIEWS)
        images.append((name, "" if corner == "no view" else view))
    return tuple(images)


class _Tree:
    """The open files of a tree that is being written."""

    def __init__(self, out: Path, images: Images, reports: str) -> None:
        self._jpg, self._cxr, self._nle = out / JPG_FOLDER, out / REPORTS_FOLDER, out / NLE_FOLDER
        self._images, self._reports = images, reports
        self._tables: dict[Path, IO[str]] = {}
        self._zip: zipfile.ZipFile | None = None
        self._raw: list[IO[bytes]] = []

    def __enter__(self) -> _Tree:
        for folder in (self._jpg, self._cxr, self._nle):
            folder.mkdir()
            (folder / "LICENSE.txt").write_text(_NOTICE, encoding="utf-8")
        label_header = ",".join(_LABEL_COLUMNS)
        self._open(self._jpg / SPLIT_TABLE, "dicom_id,study_id,subject_id,split")
        self._open(
            self._jpg / METADATA_TABLE,
            "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,"
            "StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
            "PatientOrientationCodeSequence_CodeMeaning",
        )
        for name in ("chexpert", "negbio"):
            self._open(self._jpg / LABEL_TABLES[name], f"subject_id,study_id,{label_header}")
        odd = label_header.replace("Lung Opacity", "Airspace Opacity").replace("No Finding", "No Findings")
        self._open(self._jpg / LABEL_TABLES["radiologist"], f"study_id,{odd}")
        self._open(self._jpg / "IMAGE_FILENAMES", None)
        self._open(self._cxr / "cxr-study-list.csv.gz", "subject_id,study_id,path")
        self._open(self._cxr / "cxr-record-list.csv.gz", "subject_id,study_id,dicom_id,path")
        for split in ("train", "dev", "test"):
            self._open(self._nle / f"mimic-nle-{split}.json", None)
        if self._reports == "zip":
            self._zip = zipfile.ZipFile(self._cxr / REPORTS_ZIP, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._tables.values():
            handle.close()
        for raw in self._raw:  # closing a gzip stream leaves the file below it open
            raw.close()
        if self._zip is not None:
            self._zip.close()

    def add(self, study: _InventedStudy) -> None:
        """Write one study to all tables."""
        folder = f"files/p{str(study.subject)[:2]}/p{study.subject}"
        time = 10_000 + study.number % 86_000 / 7
        for name, view in study.images:
            path = f"{folder}/s{study.study}/{name}"
            self._write(SPLIT_TABLE, f"{name},{study.study},{study.subject},{study.split}")
            if study.corner != "no image row in metadata":
                step = "CHEST (PA AND LAT)" if len(study.images) > 1 else "CHEST (PORTABLE AP)"
                rest = f"{view},3056,2544,2150{1 + study.number % 12:02d}15,{time:.3f},{step},,Erect"
                self._write(METADATA_TABLE, f"{name},{study.subject},{study.study},{step},{rest}")
            self._write("IMAGE_FILENAMES", f"{path}.jpg")
            self._write("cxr-record-list.csv.gz", f"{study.subject},{study.study},{name},{path}.dcm")
            if self._images is Images.TINY:
                _write_image(self._jpg / f"{path}.jpg", name)
        self._write("cxr-study-list.csv.gz", f"{study.subject},{study.study},{folder}/s{study.study}.txt")
        self._labels(study)
        self._report(study, f"{folder}/s{study.study}.txt")
        self._explanation(study)

    def _labels(self, study: _InventedStudy) -> None:
        values = study.report.labels
        row = ",".join("" if values.get(name) is None else f"{values[name]}.0" for name in _LABEL_COLUMNS)
        if study.corner != "no chexpert row":
            self._write(LABEL_TABLES["chexpert"], f"{study.subject},{study.study},{row}")
        self._write(LABEL_TABLES["negbio"], f"{study.subject},{study.study},{row}")
        if study.split == "test":
            self._write(LABEL_TABLES["radiologist"], f"{study.study},{row}")

    def _report(self, study: _InventedStudy, path: str) -> None:
        if study.corner == "report missing":
            return
        data = study.report.text.encode()
        if study.corner == "report in latin-1":
            data = " FINDINGS:  Grösse des Herzens normal.\n".encode("latin-1")
        if self._zip is not None:
            # A fixed date keeps the archive's bytes the same from run to run.
            self._zip.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
        else:
            (self._cxr / path).parent.mkdir(parents=True, exist_ok=True)
            (self._cxr / path).write_bytes(data)

    def _explanation(self, study: _InventedStudy) -> None:
        if study.report.explanation is None:
            return
        text, finding = study.report.explanation
        which = [int(name == finding) for name in NLE_FINDINGS]
        record = {
            "sentence_ID": f"s{study.study}#1",
            "diagnosis_label": which,
            "evidence_label": [0] * len(which),
            "img_labels": [[0, 0, 1] if value else [1, 0, 0] for value in which],
            "nle": text,
            "report_ID": f"s{study.study}",
            "patient_ID": f"p{study.subject}",
        }
        split = {"train": "train", "validate": "dev", "test": "test"}[study.split]
        self._write(f"mimic-nle-{split}.json", json.dumps(record))

    def _open(self, path: Path, header: str | None) -> None:
        if path.suffix == ".gz":
            # mtime 0 and no name in the header: equal content gives equal bytes.
            raw = path.open("wb")
            self._raw.append(raw)
            packed = gzip.GzipFile("", "wb", 6, raw, mtime=0)
            handle: IO[str] = io.TextIOWrapper(packed, encoding="utf-8", newline="\n")
        else:
            handle = path.open("w", encoding="utf-8", newline="\n")
        self._tables[path] = handle
        self._by_name = {path.name: opened for path, opened in self._tables.items()}
        if header is not None:
            handle.write(f"{header}\n")

    def _write(self, name: str, line: str) -> None:
        self._by_name[name].write(f"{line}\n")


def _write_image(path: Path, name: str) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = blake2b(name.encode(), digest_size=64).digest()
    with replacing(path) as temporary:
        Image.frombytes("L", (8, 8), pixels).resize((32, 32)).save(temporary, format="JPEG")
