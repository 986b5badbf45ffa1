"""MIMIC-CXR's reader on synthetic trees: every layout, and every kind of damage."""

from __future__ import annotations

import gzip
import pickle
import re
import shutil
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from radialog_instruct.errors import DataError
from radialog_instruct.findings import FINDINGS
from radialog_instruct.records import Split, Study, Terms, View
from radialog_instruct.sources import Reader, open_source
from radialog_instruct.sources.mimic_tables import LABEL_TABLES, METADATA_TABLE, SPLIT_TABLE
from radialog_instruct.synth.mimic import CORNERS, write_mimic_tree

N = 120


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mimic") / "tree"
    write_mimic_tree(out, N)
    return out


@pytest.fixture
def own(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "tree"))


def reader(tree: Path, **options: object) -> Reader:
    return open_source("mimic-cxr", tree / "mimic-cxr-jpg", reports=tree / "mimic-cxr", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def studies(tree: Path) -> list[Study]:
    return list(reader(tree).studies())


def by_corner(studies: list[Study]) -> dict[str, Study]:
    numbers = {str(50_000_001 + (i * 9_973) % 9_999_991): corner for i, corner in enumerate(CORNERS)}
    return {numbers[study.study_id]: study for study in studies if study.study_id in numbers}


def test_every_study_is_read_in_the_real_shape(studies: list[Study]) -> None:
    assert len(studies) == N
    assert {study.split for study in studies} == set(Split)
    assert all(study.terms is Terms.CREDENTIALED for study in studies)
    keys = [(study.subject_id, study.study_id) for study in studies]
    assert keys == sorted(keys)
    for study in studies:
        assert study.official == {"mimic-cxr": study.split}
        for image in study.images:
            folder = f"files/p{study.subject_id[:2]}/p{study.subject_id}/s{study.study_id}"
            assert image.path == f"{folder}/{image.image_id}.jpg"
            assert image.file is not None
            assert image.file.is_file()
            assert re.fullmatch(r"([0-9a-f]{8}-){4}[0-9a-f]{8}", image.image_id)


def test_every_corner_of_the_reports_is_read(studies: list[Study]) -> None:
    corner = by_corner(studies)
    assert set(corner) == set(CORNERS)
    both = corner["both"].sections
    assert both.findings
    assert both.impression
    assert both.indication
    assert corner["impression only"].sections.findings is None
    assert corner["no header"].sections.last_paragraph
    assert corner["no header"].sections.findings is None
    assert "Addendum" not in (corner["addendum"].sections.findings or "")
    assert corner["two findings"].sections.findings
    assert corner["misspelt"].sections.findings
    assert corner["misspelt"].sections.impression
    assert corner["joint header"].sections.impression
    assert corner["view title"].sections.findings
    assert corner["empty findings"].sections.findings is None
    assert "___" in (corner["de-identified"].sections.findings or "")
    for name in ("empty", "report missing", "report in latin-1"):
        assert corner[name].sections.findings is corner[name].sections.impression is None


def test_what_is_missing_is_counted(tree: Path) -> None:
    source = reader(tree)
    corner = by_corner(list(source.studies()))
    assert source.rejected == {"report is not UTF-8 text": 1}
    assert source.notes == {"study without a report file": 1}
    _, notes = source.remarks()
    assert notes["study without chexpert labels"] == 1
    assert notes["image without a row in the metadata table"] == len(corner["no image row in metadata"].images)
    assert "chexpert" not in corner["no chexpert row"].labels
    assert "negbio" in corner["no chexpert row"].labels
    assert (
        {i.view for i in corner["no view"].images}
        == {None}
        == {i.view for i in corner["no image row in metadata"].images}
    )


def test_labels_are_read_by_name_with_all_four_values(tree: Path, studies: list[Study]) -> None:
    values = Counter(value for study in studies for value in study.labels.get("chexpert", ()))
    assert set(values) == {1, 0, -1, None}
    packed = (tree / "mimic-cxr-jpg" / LABEL_TABLES["chexpert"]).read_bytes()
    rows = gzip.decompress(packed).decode().splitlines()
    header = rows[0].split(",")
    first = dict(zip(header, rows[1].split(","), strict=True))
    study = next(s for s in studies if s.study_id == first["study_id"])
    for name, value in zip(FINDINGS, study.labels["chexpert"], strict=True):
        assert first[name] == ("" if value is None else f"{value}.0")
    tested = [study for study in studies if study.split is Split.TEST]
    assert all(study.labels["radiologist"] == study.labels["chexpert"] for study in tested)
    assert not any("radiologist" in study.labels for study in studies if study.split is not Split.TEST)


def test_views_and_the_frontal_image_first(studies: list[Study]) -> None:
    views = {image.view for study in studies for image in study.images}
    assert {View.AP, View.PA, View.LATERAL, View.LL} <= views
    for study in studies:
        frontal = [bool(image.view and image.view.is_frontal) for image in study.images]
        assert frontal == sorted(frontal, reverse=True)


def test_zip_tree_and_merged_roots_read_alike(tree: Path, studies: list[Study], tmp_path: Path) -> None:
    write_mimic_tree(tmp_path / "unpacked", N, reports="tree")
    unpacked = list(reader(tmp_path / "unpacked").studies())
    without_files = [[i.image_id for i in s.images] for s in unpacked]
    assert [s.sections for s in unpacked] == [s.sections for s in studies]
    assert without_files == [[i.image_id for i in s.images] for s in studies]
    merged = Path(shutil.copytree(tree / "mimic-cxr-jpg", tmp_path / "merged"))
    shutil.copy(tree / "mimic-cxr" / "mimic-cxr-reports.zip", merged)
    assert [s.sections for s in open_source("mimic-cxr", merged).studies()] == [s.sections for s in studies]


def test_a_copy_for_another_process_reads_the_same(tree: Path, studies: list[Study]) -> None:
    source = reader(tree)
    next(source.studies())
    assert list(pickle.loads(pickle.dumps(source)).studies()) == studies


def test_only_wanted_patients_are_read(tree: Path, studies: list[Study]) -> None:
    patient = studies[40].subject_id
    wanted = list(reader(tree).studies(lambda subject: subject == patient))
    assert wanted == [study for study in studies if study.subject_id == patient]


def test_the_rules_label_only_when_they_are_asked_for(tree: Path, studies: list[Study]) -> None:
    assert not any("rules" in study.labels for study in studies)
    labelled = list(reader(tree, labeler="rules").studies())
    assert all("rules" in study.labels for study in labelled if study.sections.findings)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    text = change(gzip.decompress(path.read_bytes()).decode())
    path.write_bytes(gzip.compress(text.encode()))


def edit(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert re.search(old, text)
        return re.sub(old, new, text, count=1)

    return change


def in_two_splits(text: str) -> str:
    header, *rows = text.splitlines()
    patients = Counter(row.split(",")[2] for row in rows if row.endswith("train"))
    patient = next(p for p, n in patients.items() if n > 2)
    study = next(row.split(",")[1] for row in rows if row.split(",")[2] == patient)
    moved = [row.replace("train", "test") if f",{study}," in row else row for row in rows]
    return "\n".join((header, *moved))


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        (SPLIT_TABLE, edit("train", "trian"), r"split\.csv\.gz:\d+: unknown split 'trian'.*train, validate, test"),
        (SPLIT_TABLE, edit("subject_id", "patient"), "column.*subject_id.* is missing"),
        (
            SPLIT_TABLE,
            edit(r"\n[0-9a-f-]{44},", "\n../../etc/passwd,"),
            r"gz:2: dicom_id '../../etc/passwd' is not an id",
        ),
        (SPLIT_TABLE, edit(r",5\d{7},", ",5000/1,"), r"gz:2: study_id '5000/1' is not an id"),
        (SPLIT_TABLE, edit(r",1\d{7},", ",..,"), r"gz:2: subject_id '\.\.' is not an id"),
        (SPLIT_TABLE, lambda text: text + text.splitlines()[1] + "\n", "is listed twice"),
        (SPLIT_TABLE, in_two_splits, "a patient stands in the splits"),
        (METADATA_TABLE, edit("ViewPosition", "View"), "column.*ViewPosition.* is missing"),
        (LABEL_TABLES["chexpert"], edit("1\\.0", "2.0"), r"chexpert\.csv\.gz:\d+: unknown \w.* '2\.0'"),
        (LABEL_TABLES["chexpert"], edit("Edema", "Oedema"), "'Oedema' is none of the 14 findings"),
        (LABEL_TABLES["chexpert"], lambda text: text + text.splitlines()[1] + "\n", "a study is labelled twice"),
    ],
)
def test_a_wrong_table_is_named_with_its_row(own: Path, table: str, change: Callable[[str], str], message: str) -> None:
    rewrite(own / "mimic-cxr-jpg" / table, change)
    with pytest.raises(DataError, match=message):
        list(reader(own).studies())


def test_a_gzip_cut_short_is_named(own: Path) -> None:
    for table in (SPLIT_TABLE, LABEL_TABLES["chexpert"]):
        path = own / "mimic-cxr-jpg" / table
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=rf"{re.escape(table)}: the table is damaged"):
            reader(own)
        path.write_bytes(whole)


def test_missing_tables_and_reports_say_where_they_come_from(own: Path) -> None:
    (own / "mimic-cxr" / "mimic-cxr-reports.zip").rename(own / "elsewhere.zip")
    with pytest.raises(DataError, match="MIMIC-CXR-JPG holds no reports: give MIMIC-CXR's zip file or folder"):
        reader(own)
    assert len(list(open_source("mimic-cxr", own / "mimic-cxr-jpg", reports=own / "elsewhere.zip").studies())) == N
    (own / "mimic-cxr-jpg" / SPLIT_TABLE).unlink()
    with pytest.raises(DataError, match="the table is missing.*doctor"):
        reader(own)


def zip_path(own: Path) -> Path:
    return own / "mimic-cxr" / "mimic-cxr-reports.zip"


def test_hostile_members_of_the_zip_are_rejected_and_counted(own: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(zip_path(own), "a") as archive:
        archive.writestr("files/p10/../../../../tmp/s50000001.txt", "x")
        archive.writestr("/files/p10/p10000001/s59999999.txt", "x")
        archive.writestr("files/p19/p10000001/s59999998.txt", "x")  # the folder is another patient's
        archive.writestr("files/p10/p10000001/s59999997.txt", "x" * (2 << 20), zipfile.ZIP_DEFLATED)
        archive.writestr("README", "not a report")
    source = reader(own)
    assert len(list(source.studies())) == N
    rejected, _ = source.remarks()
    assert rejected == {"zip member whose path is not a report's": 3, "zip member too large for a report": 1}
    assert not (tmp_path / "tmp").exists()


def test_a_damaged_zip_is_named(own: Path) -> None:
    path = zip_path(own)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="the zip file is damaged"):
        reader(own)
    with zipfile.ZipFile(zip_path(own), "w") as archive:
        archive.writestr(zipfile.ZipInfo("files/p10/p10000001/s50000001.txt"), b" FINDINGS:  Clear lungs.\n")
    start = path.read_bytes().index(b"Clear")
    data = bytearray(path.read_bytes())
    data[start] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"s50000001\.txt: the member is damaged \(its checksum"):
        list(reader(own).studies())
    data[0:4] = struct.pack("<I", 0)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"damaged"):
        list(reader(own).studies())
