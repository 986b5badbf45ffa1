from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from radialog_instruct.findings import FINDINGS, positives
from radialog_instruct.records import Split, View
from radialog_instruct.sources import open_source
from radialog_instruct.sources.images import check_image

STUDIES = list(open_source("demo").studies())


def test_sixty_open_images_with_sources_under_four_megabytes() -> None:
    files = list((demo_dir() / "images").glob("*.jpg"))
    rows = list(csv.DictReader((demo_dir() / "SOURCES.tsv").open(), delimiter="\t"))
    assert len(STUDIES) == len(files) == 60
    assert {row["file"] for row in rows} == {f"images/{file.name}" for file in files}
    assert all(row["licence"] and row["attribution"] for row in rows)
    assert sum(path.stat().st_size for path in demo_dir().rglob("*") if path.is_file()) < 4_000_000
    assert all(study.images[0].file and check_image(study.images[0].file) is None for study in STUDIES)


def test_the_test_split_holds_all_fourteen_classes_and_both_views() -> None:
    test = [study for study in STUDIES if study.split is Split.TEST]
    assert {name for study in test for name in positives(study.labels["rules"])} == set(FINDINGS)
    assert {study.images[0].view for study in test} == {View.AP, View.PA}


def test_reports_are_complete_and_name_no_side() -> None:
    for study in STUDIES:
        text = f"{study.sections.findings} {study.sections.impression}"
        assert study.sections.findings
        assert study.sections.impression
        assert not {"left", "right", "XXXX", "___"} & set(text.lower().replace(".", " ").split())


def test_the_structured_reports_have_rad_restructs_layout() -> None:
    folder = demo_dir() / "rad_restruct"
    load = lambda name: json.loads((folder / name).read_text())  # noqa: E731
    keys, options, mapping = (
        load("report_keys.json"),
        load("answer_options.json"),
        load("id_to_img_mapping_frontal_reports.json"),
    )
    by_id = {study.study_id: study for study in STUDIES}
    numbers = {split: load(f"{split}_ids.json") for split in ("train", "val", "test")}
    assert sorted(sum(numbers.values(), []), key=int) == list(mapping)
    for split, ids in numbers.items():
        for number in ids:
            vector, questions = (
                load(f"{split}_vectorized_answers/{number}.json"),
                load(f"{split}_qa_pairs/{number}.json"),
            )
            study = by_id[mapping[number][0]]
            assert study.split.value.startswith(split)
            assert list(vector) == keys
            assert vector["cardiovascular system_diseases_cardiomegaly_yes_0"] == (
                "Cardiomegaly" in positives(study.labels["rules"])
            )
            for _, answers, history, info in questions:
                assert set(answers) <= set(info["options"]) <= set(options)
                assert all(len(turn) == 2 for turn in history)


@pytest.mark.shared_data
def test_the_whole_collection_has_the_same_ids_patients_and_splits(shared_data: Path) -> None:
    whole = {study.study_id: study for study in open_source("demo", shared_data).studies()}
    assert len(whole) == 777
    for study in STUDIES:
        twin = whole[study.study_id]
        assert (study.subject_id, study.split, study.sections) == (twin.subject_id, twin.split, twin.sections)
        assert study.images[0].view == twin.images[0].view
    splits: dict[str, set[Split]] = {}
    for study in whole.values():
        splits.setdefault(study.subject_id, set()).add(study.split)
        assert positives(study.labels["rules"]) == positives(study.labels["public"]), study.study_id
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.shared_data
def test_a_damaged_table_of_the_collection_is_named(shared_data: Path, tmp_path: Path) -> None:
    for name in ("nih_chestxray14", "hannover_cxr"):
        (tmp_path / name).mkdir()
        for table in (shared_data / name).glob("*.csv"):
            shutil.copy(table, tmp_path / name)
    (tmp_path / "hannover_cxr" / "index.csv").chmod(0o644)
    (tmp_path / "hannover_cxr" / "index.csv").write_text("file,source\nimages/hannover_1.jpg,x\n")
    with pytest.raises(DataError, match=r"index\.csv:1: column 'patient_id' is missing"):
        list(open_source("demo", tmp_path).studies())
    (tmp_path / "hannover_cxr" / "index.csv").unlink()
    with pytest.raises(DataError, match=r"index\.csv: a table of the open collection is missing"):
        open_source("demo", tmp_path)
