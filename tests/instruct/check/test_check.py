"""Checks on a good dataset, and on copies of it with one fault each."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radialog_instruct.build.engine import build_dataset
from radialog_instruct.check.page import write_report
from radialog_instruct.check.run import check_dataset
from radialog_instruct.cli import app
from radialog_instruct.config import BuildConfig, BuildPlaces, SourcePlaces
from radialog_instruct.mixtures import load_mixture
from radialog_instruct.replay.backends.echo import EchoBackend
from radialog_instruct.replay.request import ModelIdentity, ReplayPolicy
from radialog_instruct.replay.runner import ReplayJob, run_replay
from radialog_instruct.synth.mimic import write_mimic_tree
from radialog_instruct.terminal import run_app

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> SourcePlaces:
    tree = tmp_path_factory.mktemp("mimic") / "tree"
    write_mimic_tree(tree, 150)
    return SourcePlaces(root=tree / "mimic-cxr-jpg", reports=tree / "mimic-cxr", mimic_nle=tree / "mimic-nle")


@pytest.fixture(scope="module")
def good(places: SourcePlaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checked") / "dataset"
    policy = ReplayPolicy(identity=ModelIdentity(model="echo", revision="1"), attempts=1)
    config = BuildConfig(source="mimic-cxr", mixture=load_mixture("full"), labeler="chexpert", shards=2, replay=policy)
    answers = out.with_name("answers")
    job = ReplayJob(policy, answers)
    run_replay(config, BuildPlaces(source=places, out=answers), job, EchoBackend)
    build_dataset(config, BuildPlaces(source=places, out=out, replay=answers))
    return out


@pytest.fixture
def dataset(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "dataset"))


def test_a_built_dataset_passes_every_check(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = check_dataset(good)
    assert [result.name for result in results if not result.passed] == []
    assert all(result.checked > 0 for result in results)
    explained = next(r for r in results if r.name == "answers").counted
    assert explained["explanation: answer in its report, as declared"] > 0
    assert run_app(app, "radialog-instruct", ["check", str(good)]) == 0
    assert "FAIL" not in capsys.readouterr().out


def edit(folder: Path, pattern: str, change: Callable[[Rows], Rows]) -> Path:
    file = sorted(folder.glob(pattern))[0]
    schema = pq.read_schema(file)
    pq.write_table(pa.Table.from_pylist(change(pq.read_table(file).to_pylist()), schema=schema), file)
    return file


def first_of(folder: Path, pattern: str) -> dict[str, Any]:
    return pq.read_table(sorted(folder.glob(pattern))[0]).to_pylist()[0]


def with_first(**values: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [rows[0] | values, *rows[1:]]


def answer(text: str) -> Callable[[Rows], Rows]:
    def change(rows: Rows) -> Rows:
        messages = [*rows[0]["messages"][:-1], {"role": "assistant", "content": text}]
        return [rows[0] | {"messages": messages}, *rows[1:]]

    return change


def failures(folder: Path) -> dict[str, list[str]]:
    return {r.name: r.named for r in check_dataset(folder) if not r.passed and r.name != "files"}


def test_a_test_patient_planted_in_train_is_named(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stolen = first_of(dataset, "impression/test-*") | {"split": "train", "id": "0" * 32}
    edit(dataset, "impression/train-*", lambda rows: [*rows, stolen])
    found = failures(dataset)
    assert set(found) == {"patients", "official splits"}
    assert f"patient {stolen['subject_id']}" in found["patients"][0]
    assert re.search(r"impression/train-\S+ row \d+, id 0{32}: in train, official is test", found["official splits"][0])
    assert run_app(app, "radialog-instruct", ["check", str(dataset)]) == 3
    captured = capsys.readouterr()
    assert "0" * 32 in captured.out
    assert "checks failed (files, patients, official splits)" in captured.err


def test_a_whole_test_study_moved_to_train_is_named(dataset: Path) -> None:
    """No patient stands in two splits then; only the official splits tell."""
    victim = first_of(dataset, "view_classification/test-*")["subject_id"]
    for file in sorted(dataset.glob("*/test-*.parquet")):
        table = pq.read_table(file)
        rows = table.to_pylist()
        moved = [row | {"split": "train"} for row in rows if row["subject_id"] == victim]
        kept = [row for row in rows if row["subject_id"] != victim]
        pq.write_table(pa.Table.from_pylist(kept, schema=table.schema), file)
        if moved:
            edit(dataset, f"{file.parent.name}/train-*", lambda rows, moved=moved: [*rows, *moved])
    assert set(failures(dataset)) == {"official splits"}


@pytest.mark.parametrize(
    ("pattern", "change", "check", "message"),
    [
        ("impression/train-*", with_first(split="test"), "schema", "do not belong into this file"),
        ("impression/train-*", lambda rows: [*rows, rows[0]], "schema", "its id stands twice"),
        ("impression/train-*", with_first(messages=[]), "schema", "do not alternate"),
        ("impression/train-*", with_first(report_turn=9), "schema", "report_turn names no turn"),
        ("impression/train-*", with_first(finding_labels=[1, 2]), "schema", "not 14 values"),
        ("impression/train-*", with_first(context="most"), "schema", "context 'most'"),
        ("impression/train-*", with_first(image_paths=["../x.jpg"]), "schema", "leaves the image root"),
        ("impression/train-*", answer("___."), "targets", "empty or a placeholder"),
        ("report_generation/train-*", answer(""), "targets", "empty or a placeholder"),
        ("report_generation/train-*", answer("For {{ name }}"), "targets", "left unfilled"),
        ("findings_qa_binary/train-*", answer("maybe"), "balance", "answers other than yes and no"),
        ("region_qa/train-*", with_first(generator=None), "LLM answers", "the LLM is not named"),
        ("region_qa/train-*", answer("I'm sorry, but I cannot help with this."), "LLM answers", "refusal"),
        ("region_qa/train-*", with_first(target_source="label"), "LLM answers", "an LLM is named, but"),
    ],
)
def test_each_fault_is_found_by_its_check(
    dataset: Path, pattern: str, change: Callable[[Rows], Rows], check: str, message: str
) -> None:
    file = edit(dataset, pattern, change)
    found = failures(dataset)
    assert any(message in where for where in found[check])
    if check != "balance":
        assert f"{file.parent.name}/{file.name} row " in found[check][0]


def test_an_answer_in_its_instruction_is_a_leak(dataset: Path) -> None:
    def leak(rows: Rows) -> Rows:
        messages = [dict(message) for message in rows[0]["messages"]]
        messages[-2]["content"] += f" It should say: {messages[-1]['content']}"
        return [rows[0] | {"messages": messages}, *rows[1:]]

    for task in ("impression", "report_generation", "explanation"):
        edit(dataset, f"{task}/train-*", leak)
    named = failures(dataset)["answers"]
    assert {where.split("/")[0] for where in named} == {"impression", "report_generation", "explanation"}
    assert all("the answer stands in the instruction" in where for where in named)


def test_a_lost_balance_is_found(dataset: Path) -> None:
    edit(dataset, "findings_qa_binary/train-*", lambda rows: [r for r in rows if r["messages"][-1]["content"] == "yes"])
    assert any("are yes, wanted is 50%" in where for where in failures(dataset)["balance"])


def test_changed_missing_and_foreign_files_are_found(dataset: Path) -> None:
    changed, missing, *_ = sorted(dataset.glob("impression/*.parquet"))
    changed.write_bytes(changed.read_bytes() + b" ")
    shutil.copy(missing, dataset / "impression" / "train-extra.parquet")
    missing.unlink()
    (result,) = list(check_dataset_files(dataset))
    assert result == [
        f"impression/{changed.name} was changed after it was built",
        f"impression/{missing.name} is missing",
        "impression/train-extra.parquet is not in the manifest",
    ]


def check_dataset_files(folder: Path) -> list[list[str]]:
    from radialog_instruct.build.manifest import read_manifest
    from radialog_instruct.check.quality import Files
    from radialog_instruct.check.rows import data_files

    return [Files(folder, read_manifest(folder), data_files(folder)).result.named]


def test_repeated_reports_are_counted_and_do_not_fail(dataset: Path) -> None:
    text = "The lungs are clear and the heart is of normal size without any further finding today."

    def repeat(rows: Rows) -> Rows:
        return answer(text)(rows)

    def nearly(rows: Rows) -> Rows:
        return answer(f"{text} Done.")(rows)

    before = next(r for r in check_dataset(dataset) if r.name == "repeated reports").counted
    edit(dataset, "report_generation/train-*", repeat)
    edit(dataset, "report_generation/test-*", repeat)
    edit(dataset, "report_generation/validation-*", nearly)
    (after,) = [r for r in check_dataset(dataset) if r.name == "repeated reports"]
    assert after.passed
    exact, near = (
        "distinct held-out reports that stand word for word in train",
        "distinct held-out reports that nearly stand in train (Jaccard of 0.8)",
    )
    assert after.counted[exact] == before[exact] + 1
    assert after.counted[near] == before[near] + 1


def test_the_report_page_shows_counts_and_no_text(good: Path, tmp_path: Path) -> None:
    page = write_report(good, tmp_path / "page.html").read_text()
    assert page.count("<svg") >= 8
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"https?:", page)
    for row in pq.read_table(sorted(good.glob("report_generation/train-*"))[0]).to_pylist()[:20]:
        assert row["messages"][-1]["content"] not in page
    assert write_report(good, tmp_path / "again.html").read_text() == page
    assert "pass" in page
    json_results = [r.name for r in check_dataset(good)]
    assert all(name in page for name in json_results)
    assert json.loads((good / "manifest.json").read_text())["fingerprint"][:12] in page


@pytest.mark.shared_data
def test_the_real_collections_build_to_a_dataset_that_passes(
    shared_data: Path, rad_restruct: Path, tmp_path: Path
) -> None:
    out = tmp_path / "iu"
    config = BuildConfig(source="iu-xray", mixture=load_mixture("paper"))
    source = SourcePlaces(root=shared_data / "iu_xray", rad_restruct=rad_restruct)
    manifest = build_dataset(config, BuildPlaces(source=source, out=out, workers=2))
    assert manifest.rows() == manifest.planned
    assert manifest.rows()["rad_restruct_qa"]["train"] > 20_000
    assert manifest.skipped["rad_restruct_qa"]["in the test split of iu-xray"] > 20_000
    results = {result.name: result for result in check_dataset(out)}
    assert [name for name, result in results.items() if not result.passed] == []
    exact = "distinct held-out reports that stand word for word in train"
    assert results["repeated reports"].counted[exact] > 0
    # A study that R2Gen tests and Rad-ReStruct trains: planted into train it must be found.
    splits = pq.read_table(out / "splits.parquet").to_pylist()
    tested = {row["study_id"] for row in splits if row["set_by"] == "iu-xray" and row["split"] == "test"}
    trained = {row["study_id"] for row in splits if row["set_by"] == "rad-restruct" and row["split"] == "train"}
    assert len(tested & trained) == 475
    stolen = next(r for f in sorted(out.glob("report_generation/test-*")) for r in pq.read_table(f).to_pylist())
    edit(out, "report_generation/train-*", lambda rows: [*rows, stolen | {"split": "train"}])
    found = failures(out)
    assert (
        f"study {stolen['study_id']}" in found["official splits"][0]
        or "official is test" in found["official splits"][0]
    )
