from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.records import Split, View
from radialog_instruct.sources import open_source
from radialog_instruct.sources.images import check_image

XML = """<?xml version="1.0"?><eCitation><uId id="{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText><AbstractText Label="INDICATION">{indication}</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText>
</Abstract></Article></MedlineCitation>{images}</eCitation>"""
PROJECTIONS = "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n1,1_IM-0001-3001.dcm.png,Lateral\n" + (
    "2,2_IM-0652-1001.dcm.png,Frontal\n"
)


def document(uid: str, *images: str, findings: str = "Clear lungs.", impression: str = "Normal.") -> bytes:
    parents = "".join(f'<parentImage id="{image}"/>' for image in images)
    return XML.format(uid=uid, findings=findings, impression=impression, indication="Cough", images=parents).encode()


def archive(path: Path, *documents: bytes) -> Path:
    with tarfile.open(path / "NLMCXR_reports.tgz", "w:gz") as tar:
        for number, content in enumerate(documents, 1):
            info = tarfile.TarInfo(f"ecgen-radiology/{number}.xml")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a small collection: an irregular id, an empty findings section, a study without images."""
    archive(
        tmp_path,
        document("CXR1", "CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"),
        document("CXR2", "CXR2_IM-0652-1001", findings="", impression="XXXX\n  effusion."),
        document("CXR10", findings="No\n edema."),
    )
    (tmp_path / "indiana_projections.csv").write_text(PROJECTIONS)
    folder = tmp_path / "images" / "images_normalized"
    folder.mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "1_IM-0001-4001.dcm.png")
    entries = {"train": [], "val": [{"id": "CXR2_IM-0652"}], "test": [{"id": "CXR1_1_IM-0001"}]}
    (tmp_path / "annotation.json").write_text(json.dumps(entries))
    return tmp_path


def read(root: Path, **options: object):
    return {study.study_id: study for study in open_source("iu-xray", root, **options).studies()}


def test_irregular_ids_are_looked_up_and_frontal_images_come_first(root: Path) -> None:
    study = read(root)["CXR1"]
    assert [image.image_id for image in study.images] == ["CXR1_1_IM-0001-4001", "CXR1_1_IM-0001-3001"]
    assert [image.view for image in study.images] == [View.FRONTAL, View.LATERAL]
    assert study.images[0].path == "images/images_normalized/1_IM-0001-4001.dcm.png"
    assert study.images[0].file is not None
    assert study.images[1].file is None


def test_sections_are_folded_and_empty_ones_absent(root: Path) -> None:
    studies = read(root)
    assert studies["CXR2"].sections.findings is None
    assert studies["CXR2"].sections.impression == "XXXX effusion."
    assert studies["CXR10"].sections.findings == "No edema."
    assert studies["CXR1"].sections.comparison == "None."
    assert studies["CXR1"].subject_id == "iu-CXR1"
    assert studies["CXR10"].images == ()


def test_r2gen_ids_give_the_split_and_others_are_train_and_counted(root: Path) -> None:
    reader = open_source("iu-xray", root)
    splits = {study.study_id: study.split for study in reader.studies()}
    assert splits == {"CXR1": Split.TEST, "CXR2": Split.VALIDATION, "CXR10": Split.TRAIN}
    assert reader.notes["study outside the split file"] == 1
    official = {study.study_id: study.official for study in reader.studies()}
    assert official == {"CXR1": {"iu-xray": Split.TEST}, "CXR2": {"iu-xray": Split.VALIDATION}, "CXR10": {}}


def test_an_unpacked_folder_reads_like_the_archive(root: Path, tmp_path: Path) -> None:
    before = read(root)
    with tarfile.open(root / "NLMCXR_reports.tgz") as tar:
        tar.extractall(root, filter="data")
    (root / "NLMCXR_reports.tgz").unlink()
    assert read(root) == before


def test_kaggles_tables_alone_are_enough_and_a_comparison_of_none_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "indiana_projections.csv").write_text(PROJECTIONS)
    header = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
    (tmp_path / "indiana_reports.csv").write_text(header + "1,,,,Cough,None,NA,Normal.\n2,,,,,,,\n")
    studies = read(tmp_path)
    assert studies["CXR1"].sections.comparison == "None"
    assert studies["CXR1"].sections.findings == "NA"
    assert studies["CXR2"].sections.findings is None
    assert [image.view for image in studies["CXR1"].images] == [View.FRONTAL, View.LATERAL]


def test_only_wanted_patients_are_read(root: Path) -> None:
    studies = open_source("iu-xray", root).studies(lambda subject: subject == "iu-CXR2")
    assert [study.study_id for study in studies] == ["CXR2"]


def test_a_broken_document_is_rejected_with_its_reason_and_a_bomb_is_not_opened(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><eCitation><uId id="CXR9"/>&b;</eCitation>'
    archive(tmp_path, document("CXR1"), b"<eCitation><uId", b"<eCitation/>", bomb)
    reader = open_source("iu-xray", tmp_path)
    assert [study.study_id for study in reader.studies()] == ["CXR1"]
    assert reader.remarks()[0] == {"document is not well-formed XML": 2, "document without a uId": 1}


def damage_archive(root: Path) -> None:
    path = root / "NLMCXR_reports.tgz"
    path.write_bytes(path.read_bytes()[:150])


def repeat_study(root: Path) -> None:
    archive(root, document("CXR1"), document("CXR1"))


def drop_column(root: Path) -> None:
    (root / "indiana_projections.csv").write_text("uid,filename\n1,x.png\n")


def unknown_projection(root: Path) -> None:
    (root / "indiana_projections.csv").write_text("uid,filename,projection\n1,1_x.png,Oblique\n")


def bad_annotation(root: Path) -> None:
    (root / "annotation.json").write_text('{"train": []}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_archive, "NLMCXR_reports.tgz: the archive is damaged"),
        (repeat_study, "CXR1 stands in ecgen-radiology/1.xml and ecgen-radiology/2.xml"),
        (drop_column, "indiana_projections.csv:1: column 'projection' is missing"),
        (unknown_projection, "indiana_projections.csv:2: unknown projection 'Oblique'"),
        (bad_annotation, "annotation.json: not an R2Gen annotation"),
    ],
)
def test_damage_is_named_with_its_place(root: Path, damage, message: str) -> None:
    damage(root)
    with pytest.raises(DataError) as caught:
        read(root)
    assert message in str(caught.value)


def test_a_missing_or_wrong_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither NLMCXR_reports.tgz"):
        open_source("iu-xray", tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_source("iu-xray", tmp_path / "gone")
    with pytest.raises(UsageError, match="--root"):
        open_source("iu-xray")
    with pytest.raises(UsageError, match="did you mean iu-xray"):
        open_source("iu-xry", tmp_path)
    with pytest.raises(UsageError, match="does not take these options"):
        open_source("demo", None, speed=3)


def test_images_are_checked_by_decoding_them(tmp_path: Path) -> None:
    good, cut, text = tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "c.png"
    Image.effect_noise((64, 64), 50).save(good)
    Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    text.write_text("hello")
    reasons = [check_image(path) for path in (good, cut, text, tmp_path / "d.png")]
    assert reasons == [None, "image damaged or cut short", "not an image", "image file missing"]


@pytest.mark.shared_data
def test_every_real_report_is_read_or_rejected(shared_data: Path) -> None:
    reader = open_source("iu-xray", shared_data / "iu_xray")
    studies = list(reader.studies())
    assert len(studies) + sum(reader.rejected.values()) == 3733
    assert sum(study.sections.findings is None for study in studies) == 530
    assert Counter(study.split for study in studies) == {Split.TRAIN: 2891, Split.VALIDATION: 272, Split.TEST: 570}
    with_files = [s for s in studies if any(image.file for image in s.images)]
    assert len(with_files) == 22
    assert sum(s.sections.findings is not None for s in with_files) == 17
    assert sum(image.file is not None for study in studies for image in study.images) == 33
