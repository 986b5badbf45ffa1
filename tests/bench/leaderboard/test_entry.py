from __future__ import annotations

import json
from pathlib import Path

import pytest

from radialog_bench.cli import app
from radialog_bench.leaderboard import ENTRY, read_entry, write_entry
from radialog_instruct.errors import DataError
from radialog_instruct.terminal import run_app


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("entry") / "run"
    command = ("run", "-m", "constant", "-e", "view_classification", "-o", str(folder), "--bootstrap", "50")
    assert run_app(app, "radialog-bench", command) == 0
    return folder


def test_an_entry_is_what_was_measured_and_nothing_that_may_not_be_passed_on(run_folder: Path) -> None:
    path = run_folder / ENTRY  # the run has written it
    entry = read_entry(path)
    assert write_entry(run_folder) == path
    results = json.loads((run_folder / "results.json").read_text())
    measured = results["evaluations"]["view_classification"]["metrics"]["accuracy"]
    assert entry.evaluations["view_classification"].metrics["accuracy"].value == measured["value"] == 0.625
    assert entry.evaluations["view_classification"].metrics["accuracy"].signature == "accuracy|parser:whole-word|v1"
    assert entry.data.manifest_sha256 == results["data"]["manifest_sha256"]
    assert entry.model.fingerprint == results["model"]["fingerprint"]
    assert entry.versions["radialog"]
    assert entry == read_entry(run_folder)
    text = path.read_text()
    for record in (run_folder / "samples" / "view_classification.jsonl").read_text().splitlines():
        assert json.loads(record)["study_id"] not in text
    assert str(run_folder.parent) not in text


def test_folders_and_sample_ids_stay_out(run_folder: Path, tmp_path: Path) -> None:
    for name in ("run.json", "results.json"):
        content = json.loads((run_folder / name).read_text())
        content["model"]["args"] = {"weights": "/home/someone/secret/w.pt", "batch": 4}
        if "config" in content:
            content["config"].update(sample_ids=["p10000032/s50414267"], model="/home/someone/model.py:M")
        (tmp_path / name).write_text(json.dumps(content))
    text = write_entry(tmp_path).read_text()
    assert "someone" not in text
    assert "s50414267" not in text
    assert read_entry(tmp_path / ENTRY).model.args == {"weights": "w.pt", "batch": 4}
    assert read_entry(tmp_path / ENTRY).settings["model"] == "model.py:M"


def test_undefined_scores_become_unavailable(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text((run_folder / "run.json").read_text())
    results = json.loads((run_folder / "results.json").read_text())
    metrics = results["evaluations"]["view_classification"]["metrics"]
    metrics["accuracy"].update(value=float("nan"))
    metrics["macro_f1"].update(ci95=[float("-inf"), 1.0], ceiling=float("nan"))
    (tmp_path / "results.json").write_text(json.dumps(results))
    entry = read_entry(write_entry(tmp_path))
    found = entry.evaluations["view_classification"].metrics
    assert (found["accuracy"].value, found["accuracy"].unavailable) == (None, "undefined on these samples")
    assert (found["macro_f1"].ci95, found["macro_f1"].ceiling) == (None, None)
    assert found["macro_f1"].value is not None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda e: e.update(schema_version=2), "schema_version"),
        (lambda e: e.pop("data"), "data: Field required"),
        (lambda e: e.update(extra=1), "extra: Extra inputs"),
        (lambda e: e.update(started="yesterday"), "started"),
        (lambda e: accuracy(e).update(value=float("nan")), "accuracy: not a finite number"),
        (lambda e: accuracy(e).update(value=None), "neither a value nor the reason"),
        (lambda e: accuracy(e).update(ci95=[0.9, 0.1]), "ends before it begins"),
        (lambda e: accuracy(e).update(signature=""), "no signature"),
        (lambda e: accuracy(e).update(value="high"), "valid number"),
        (lambda e: e["evaluations"]["view_classification"].update(n_scored=99), "99 samples scored of 24"),
        (lambda e: e["evaluations"]["view_classification"].update(n=-1), "greater than or equal to 0"),
    ],
)
def test_a_false_entry_is_refused_with_its_first_fault(
    run_folder: Path, tmp_path: Path, change, complaint: str
) -> None:
    content = json.loads(write_entry(run_folder).read_text())
    change(content)
    path = tmp_path / ENTRY
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=complaint) as caught:
        read_entry(path)
    assert str(path) in str(caught.value)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no entry here"):
        read_entry(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"b\.json: no entry here"):
        read_entry(tmp_path / "b.json")
    (tmp_path / "t.json").write_text("not json")
    with pytest.raises(DataError, match=r"t\.json: not a leaderboard entry"):
        read_entry(tmp_path / "t.json")
    with pytest.raises(DataError, match="no run folder"):
        read_entry(tmp_path)


def accuracy(entry: dict) -> dict:
    return entry["evaluations"]["view_classification"]["metrics"]["accuracy"]
