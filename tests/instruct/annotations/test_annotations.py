from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from radialog_instruct.annotations.labels import LabelTable, write_labels
from radialog_instruct.annotations.mimic_nle import NLE_FINDINGS, MimicNle
from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.findings import make_labels
from radialog_instruct.records import Split, View
from radialog_instruct.sources import open_source
from radialog_instruct.synth.mimic import write_mimic_tree

QUESTION = [
    "Any signs in the lung?",
    ["no"],
    [],
    {"answer_type": "single_choice", "options": ["yes", "no"], "path": "lung_signs"},
]
XML = """<eCitation><uId id="CXR1"/><AbstractText Label="FINDINGS">Clear.</AbstractText>
<parentImage id="CXR1_1_IM-0001-3001"/></eCitation>"""


@pytest.fixture
def structured(tmp_path: Path) -> Path:
    folder = tmp_path / "rr" / "data" / "radrestruct"
    for split, ids in (("train", ["1"]), ("val", ["7"]), ("test", [])):
        (folder / f"{split}_qa_pairs").mkdir(parents=True)
        (folder / f"{split}_ids.json").write_text(json.dumps(ids))
        for number in ids:
            (folder / f"{split}_qa_pairs" / f"{number}.json").write_text(json.dumps([QUESTION]))
    mapping = {"1": ["CXR1_1_IM-0001-3001"], "7": ["CXR7_IM-0002-1001"]}
    (folder / "id_to_img_mapping_frontal_reports.json").write_text(json.dumps(mapping))
    return tmp_path / "rr"


@pytest.fixture
def iu(tmp_path: Path) -> Path:
    (tmp_path / "iu" / "ecgen-radiology").mkdir(parents=True)
    (tmp_path / "iu" / "ecgen-radiology" / "1.xml").write_text(XML)
    return tmp_path / "iu"


def test_structured_reports_attach_and_bring_studies_of_their_own(structured: Path, iu: Path) -> None:
    reader = open_source("iu-xray", iu, rad_restruct=structured)
    first, second = reader.studies()
    assert first.sections.findings == "Clear."
    assert first.structured is not None
    assert [q.question for q in first.structured.questions] == ["Any signs in the lung?"]
    assert first.official == {"rad-restruct": Split.TRAIN}
    assert [image.image_id for image in first.images] == ["CXR1_1_IM-0001-3001"]
    assert (second.study_id, second.split, second.sections.findings) == ("CXR7", Split.VALIDATION, None)
    assert [(i.image_id, i.view) for i in second.images] == [("CXR7_IM-0002-1001", View.FRONTAL)]
    assert reader.notes["Rad-ReStruct study without a report text"] == 1
    assert [s.study_id for s in reader.studies(lambda subject: subject == "iu-CXR7")] == ["CXR7"]


def test_an_annotation_of_another_source_is_refused(structured: Path) -> None:
    with pytest.raises(UsageError, match="--rad-restruct: it belongs to iu-xray, not to demo"):
        open_source("demo", rad_restruct=structured)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test_ids.json", '["1"]', "report 1 stands in two splits"),
        ("test_ids.json", '["../1"]', "'../1' is not a report id"),
        ("test_ids.json", "[", "cannot read"),
        ("id_to_img_mapping_frontal_reports.json", '{"1": ["../x"]}', "CXR1 has an invalid image id"),
        ("train_qa_pairs/1.json", '[["q", ["no"], []]]', "entry 0 is no question"),
        (
            "train_qa_pairs/1.json",
            json.dumps([[*QUESTION[:1], ["maybe"], *QUESTION[2:]]]),
            "entry 0 has no valid answer",
        ),
    ],
)
def test_a_damaged_structured_report_is_named(
    structured: Path, iu: Path, name: str, content: str, message: str
) -> None:
    (structured / "data" / "radrestruct" / name).write_text(content)
    with pytest.raises(DataError, match=message):
        list(open_source("iu-xray", iu, rad_restruct=structured).studies())


@pytest.fixture
def nle(tmp_path: Path) -> Path:
    write_mimic_tree(tmp_path / "tree", 80)
    return tmp_path / "tree"


def test_explanations_attach_by_study(nle: Path) -> None:
    reader = open_source("mimic-cxr", nle / "mimic-cxr-jpg", reports=nle / "mimic-cxr", mimic_nle=nle / "mimic-nle")
    explained = [study for study in reader.studies() if study.explanations]
    lines = sum(len(p.read_text().splitlines()) for p in (nle / "mimic-nle").glob("*.json"))
    assert len(explained) == lines > 5
    for study in explained:
        (sentence,) = study.explanations
        assert sentence.sentence_id == f"s{study.study_id}#1"
        assert set(sentence.findings) <= set(NLE_FINDINGS)
        assert study.official["mimic-nle"] == study.split


def test_wrong_explanations_are_named(nle: Path) -> None:
    folder = nle / "mimic-nle"
    train = folder / "mimic-nle-train.json"
    lines = train.read_text().splitlines()
    first = json.loads(lines[0])
    for change, message in (
        ({"diagnosis_label": [1]}, r"mimic-nle-train\.json:1: not an explanation"),
        ({"report_ID": None, "patient_ID": None}, ""),
    ):
        if message:
            train.write_text("\n".join((json.dumps(first | change), *lines[1:])))
            with pytest.raises(DataError, match=message):
                MimicNle(folder)
    train.write_text("\n".join((lines[0], "{cut")))
    with pytest.raises(DataError, match=r"mimic-nle-train\.json:2: not a JSON line"):
        MimicNle(folder)
    train.write_text(json.dumps(first | {"nle": "  "}))
    assert MimicNle(folder).rejected == Counter({"explanation without text or finding": 1})
    (folder / "mimic-nle-test.json").write_text(lines[0])
    with pytest.raises(DataError, match="stands in the splits train and test"):
        train.write_text(lines[0])
        MimicNle(folder)
    train.unlink()
    with pytest.raises(DataError, match="run MIMIC-NLE's extractor"):
        MimicNle(folder)


def test_labels_are_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    labels = [make_labels({"Edema": 1, "Fracture": -1}), make_labels({"No Finding": 1, "Pneumothorax": 0})]
    write_labels(path, "demo", "mine", "mine-v1", ["a", "b"], labels)
    table = LabelTable(path)
    assert table.labeler == "mine"
    assert [table.of("a"), table.of("b"), table.of("c")] == [*labels, None]
    studies = list(open_source("demo", labels=(path,)).studies())
    assert not any("mine" in study.labels for study in studies)
    write_labels(path, "demo", "mine", "mine-v1", [studies[0].study_id], labels[:1])
    reader = open_source("demo", labels=(path,))
    assert next(reader.studies()).labels["mine"] == labels[0]
    list(reader.studies())
    assert reader.notes["study without mine labels"] == len(studies) - 1
    write_labels(path, "demo", "mine", "mine-v1", ["a", "a"], labels)
    with pytest.raises(DataError, match="study a is labelled twice"):
        LabelTable(path)


@pytest.mark.shared_data
def test_the_whole_of_rad_restruct_is_read(shared_data: Path, rad_restruct: Path) -> None:
    reader = open_source("iu-xray", shared_data / "iu_xray", rad_restruct=rad_restruct)
    splits: Counter[Split] = Counter()
    questions = studies = crossing = images = 0
    for study in reader.studies():
        studies += 1
        if study.structured is not None:
            questions += len(study.structured.questions)
            own = study.official["rad-restruct"]
            splits[own] += 1
            crossing += study.official.get("iu-xray") is Split.TEST and own is Split.TRAIN
            frontal = [image for image in study.images if image.image_id in study.structured.image_ids]
            images += len(frontal) if own is Split.TEST else 0
    assert splits == {Split.TRAIN: 2877, Split.VALIDATION: 360, Split.TEST: 360}
    assert questions == 176_855
    assert images == 374
    assert crossing == 475
    assert reader.remarks()[0] == {}
    assert studies == 3_733 + reader.notes["Rad-ReStruct study without a report text"]
    assert len(RadReStruct(rad_restruct)) == 3_597
