"""MIMIC-CXR-JPG's tables as one compact index: who has which study, in which split, with which images and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radialog_instruct.errors import DataError
from radialog_instruct.findings import FINDINGS, canonical
from radialog_instruct.records import Split, View

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT_TABLE = "mimic-cxr-2.0.0-split.csv.gz"
METADATA_TABLE = "mimic-cxr-2.0.0-metadata.csv.gz"
LABEL_TABLES = {
    "chexpert": "mimic-cxr-2.0.0-chexpert.csv.gz",
    "negbio": "mimic-cxr-2.0.0-negbio.csv.gz",
    "radiologist": "mimic-cxr-2.1.0-test-set-labeled.csv",
}
"""Labeler -> file; release 2.1.0 keeps the names of 2.0.0 and adds the radiologist's labels of test studies."""
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
_SPLIT_NAMES = {"train": 0, "validate": 1, "test": 2}
VIEWS: tuple[View | None, ...] = (None, View.AP, View.PA, View.LATERAL, View.LL, View.OTHER)
_VIEW_CODES = {"": 0, "AP": 1, "PA": 2, "LATERAL": 3, "LL": 4}
_OTHER = 5
BLANK = -128
"""A label that is not given; the others are 1, 0 and -1."""
_ID, _IMAGE_ID = r"^[0-9]{8}$", r"^[0-9A-Za-z][0-9A-Za-z_-]*$"

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class MimicIndex:
    """All studies, ordered by patient and number; about 150 bytes a study and 45 an image.

    Attributes:
        subjects: Patient of each study, shape (n,).
        studies: Number of each study, shape (n,).
        splits: Index into ``SPLITS`` of each study, shape (n,).
        first_image: Study i has the images first_image[i] to first_image[i + 1] - 1, shape (n + 1,).
        images: DICOM id of each image as ASCII, shape (m,).
        views: Index into ``VIEWS`` of each image, shape (m,).
        labels: Labeler -> label values, shape (n, 14), in the order of ``FINDINGS``; a row of ``BLANK`` and False in
            ``labelled`` where the table lacks the study.
        labelled: Labeler -> whether its table holds the study, shape (n,).
        notes: What a user should know of the tables, by remark.
    """

    subjects: Int32
    studies: Int32
    splits: Int8
    first_image: Int32
    images: NDArray[np.bytes_]
    views: Int8
    labels: dict[str, Int8]
    labelled: dict[str, NDArray[np.bool_]]
    notes: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """Return the number of studies."""
        return len(self.studies)


def read_index(root: Path, label_tables: Sequence[str]) -> MimicIndex:
    """Read the tables below a MIMIC-CXR-JPG root.

    Args:
        root: The project's folder.
        label_tables: Keys of ``LABEL_TABLES`` to read; a file that is not there is left out.

    Raises:
        DataError: If a table is missing, damaged, lacks a column, or contradicts itself; it names file and row.
    """
    path = root / SPLIT_TABLE
    table = _read(path, ("dicom_id", "study_id", "subject_id", "split"))
    subjects = _ids(path, table, "subject_id", _ID).astype(np.int32)
    studies = _ids(path, table, "study_id", _ID).astype(np.int32)
    images = _ids(path, table, "dicom_id", _IMAGE_ID).astype(np.bytes_)
    splits = _codes(path, table, "split", _SPLIT_NAMES)
    _refuse_duplicates(path, images)
    order = np.lexsort((images, studies, subjects))
    subjects, studies, images, splits = subjects[order], studies[order], images[order], splits[order]
    new = np.flatnonzero(np.r_[True, studies[1:] != studies[:-1]])
    first_image = np.r_[new, len(studies)].astype(np.int32)
    _refuse_contradictions(path, subjects, studies, splits, new)
    notes: Counter[str] = Counter()
    views = _views(root / METADATA_TABLE, images, notes)
    labels: dict[str, Int8] = {}
    labelled: dict[str, NDArray[np.bool_]] = {}
    for name in label_tables:
        if (root / LABEL_TABLES[name]).is_file():
            labels[name], labelled[name] = _labels(root / LABEL_TABLES[name], studies[new], name, notes)
    return MimicIndex(subjects[new], studies[new], splits[new], first_image, images, views, labels, labelled, notes)


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    if not path.is_file():
        raise DataError(
            "the table is missing", where=str(path), mend="radialog-instruct doctor says where it comes from"
        )
    try:
        # Threads would each keep a copy of their block: the tables are small, memory matters more.
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
    except KeyError as error:
        raise DataError(f"column {error.args[0]} is missing", where=f"{path}:1", mend=f"needed: {columns}") from error
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        mend = "fetch the file again and compare it with SHA256SUMS.txt"
        raise DataError(f"the table is damaged ({error})", where=str(path), mend=mend) from error
    return table


def _first_row(mask: Any) -> int:
    # Row 1 of the file is the header.
    return int(np.flatnonzero(np.asarray(mask))[0]) + 2


def _ids(path: Path, table: pa.Table, column: str, pattern: str) -> NDArray[Any]:
    import pyarrow.compute as pc

    valid = pc.match_substring_regex(table[column], pattern).to_numpy()
    if not valid.all():
        row = _first_row(~valid)
        value = table[column][row - 2].as_py()
        raise DataError(f"{column} {value!r} is not an id of this source", where=f"{path}:{row}", mend="mend the row")
    if pattern == _ID:
        import pyarrow as pa

        return np.asarray(pc.cast(table[column], pa.int32()).to_numpy())
    return np.asarray(table[column].to_numpy())


def _codes(path: Path, table: pa.Table, column: str, codes: dict[str, int]) -> Int8:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(table[column], pa.array(list(codes)))
    if found.null_count:
        row = _first_row(pc.is_null(found).to_numpy())
        value = table[column][row - 2].as_py()
        mend = f"known are {', '.join(codes)}"
        raise DataError(f"unknown {column} {value!r}", where=f"{path}:{row}", mend=mend)
    lookup = np.array(list(codes.values()), dtype=np.int8)
    return np.asarray(lookup[found.to_numpy()], dtype=np.int8)


def _refuse_duplicates(path: Path, images: NDArray[np.bytes_]) -> None:
    order = np.argsort(images, kind="stable")
    same = np.flatnonzero(images[order][1:] == images[order][:-1])
    if len(same):
        row = int(order[same[0] + 1]) + 2
        where = f"{path}:{row}"
        raise DataError(f"image {images[row - 2].decode()} is listed twice", where=where, mend="remove one row")


def _refuse_contradictions(path: Path, subjects: Int32, studies: Int32, splits: Int8, new: NDArray[Any]) -> None:
    same_study = studies[1:] == studies[:-1]
    wrong = np.flatnonzero(same_study & ((splits[1:] != splits[:-1]) | (subjects[1:] != subjects[:-1])))
    if len(wrong):
        raise DataError("a study stands in two splits", where=f"{path}: {studies[wrong[0]]}", mend="give it one split")
    same_patient = subjects[new][1:] == subjects[new][:-1]
    wrong = np.flatnonzero(same_patient & (splits[new][1:] != splits[new][:-1]))
    if len(wrong):
        first, second = (SPLITS[int(splits[new][wrong[0] + step])].value for step in (0, 1))
        raise DataError(
            f"a patient stands in the splits {first} and {second}",
            where=f"{path}: {subjects[new][wrong[0]]}",
            mend="give all studies of a patient one split",
        )
    ordered = np.sort(studies[new])
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise DataError("a study belongs to two patients", where=f"{path}: {ordered[twice[0]]}", mend="mend the rows")


def _views(path: Path, images: NDArray[np.bytes_], notes: Counter[str]) -> Int8:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _read(path, ("dicom_id", "ViewPosition"))
    names = _ids(path, table, "dicom_id", _IMAGE_ID).astype(np.bytes_)
    found = pc.index_in(table["ViewPosition"], pa.array(list(_VIEW_CODES)))
    codes = pc.fill_null(found, _OTHER).to_numpy().astype(np.int8)
    order = np.argsort(names)
    names, codes = names[order], codes[order]
    at = np.minimum(np.searchsorted(names, images), max(len(names) - 1, 0))
    known = names[at] == images if len(names) else np.zeros(len(images), dtype=bool)
    missing = int((~known).sum())
    if missing:
        notes["image without a row in the metadata table"] += missing
    return np.where(known, codes[at] if len(names) else 0, 0).astype(np.int8)


def _labels(path: Path, studies: Int32, name: str, notes: Counter[str]) -> tuple[Int8, NDArray[np.bool_]]:
    columns = _label_columns(path)
    table = _read(path, ("study_id", *columns))
    numbers = _ids(path, table, "study_id", _ID).astype(np.int32)
    values = np.full((len(numbers), len(FINDINGS)), BLANK, dtype=np.int8)
    codes = {"": BLANK, "1.0": 1, "0.0": 0, "-1.0": -1, "1": 1, "0": 0, "-1": -1}
    for column, finding in columns.items():
        values[:, FINDINGS.index(finding)] = _codes(path, table, column, codes)
    order = np.argsort(numbers, kind="stable")
    numbers, values = numbers[order], values[order]
    twice = np.flatnonzero(numbers[1:] == numbers[:-1])
    if len(twice):
        raise DataError("a study is labelled twice", where=f"{path}: {numbers[twice[0]]}", mend="remove one row")
    at = np.minimum(np.searchsorted(numbers, studies), max(len(numbers) - 1, 0))
    known = numbers[at] == studies if len(numbers) else np.zeros(len(studies), dtype=bool)
    if unknown := len(numbers) - int(known.sum()):
        notes[f"study of the {name} table outside the split table"] += unknown
    if name != "radiologist" and (missing := int((~known).sum())):
        notes[f"study without {name} labels"] += missing
    rows = values[at] if len(numbers) else np.full((len(studies), len(FINDINGS)), BLANK, dtype=np.int8)
    return np.where(known[:, None], rows, BLANK).astype(np.int8), known


def _label_columns(path: Path) -> dict[str, str]:
    """Return the table's label columns and the findings they mean; the 2.1.0 table writes some names its own way."""
    import gzip

    reading = gzip.open if path.suffix == ".gz" else open
    try:
        with reading(path, "rt", encoding="utf-8") as handle:
            names = [name.strip().strip('"') for name in handle.readline().split(",")]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"the table is damaged ({error})", where=str(path), mend="fetch the file again") from error
    columns = {}
    for name in names:
        if name in ("study_id", "subject_id"):
            continue
        try:
            columns[name] = canonical(name)
        except KeyError as error:
            raise DataError(
                f"{name!r} is none of the 14 findings", where=f"{path}:1", mend="mend the header"
            ) from error
    missing = [finding for finding in FINDINGS if finding not in columns.values()]
    if missing:
        raise DataError(f"no column for {missing[0]}", where=f"{path}:1", mend="fetch the file again")
    return columns
