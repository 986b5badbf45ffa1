from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from radialog_bench import rescore
from radialog_bench.labelers import Labeler
from radialog_bench.stored import load_statistics
from radialog_instruct.findings import make_labels
from tests.bench.conftest import bench, read, rewrite

QUICK = ("-e", "report_generation,correction,view_classification", "--bootstrap", "20")
REFUSES = """
from radialog_bench import Response
class Refuses:
    def generate(self, requests):
        for r in requests:
            bad = r.id.endswith(("00029696_000", "#correction"))
            yield Response.failure(r.id, "timeout", "too slow") if bad else Response(r.id, "There is edema. AP")
    def render(self, request):
        from radialog_bench.chat import Message
        return (Message("system", "Be brief."), *request.messages)
"""


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return a model that writes its own prompts and fails now and then, and its run."""
    folder = tmp_path_factory.mktemp("refusing")
    (folder / "m.py").write_text(REFUSES)
    model = f"{folder / 'm.py'}:Refuses"
    assert bench("run", "-m", model, "-o", folder / "whole", *QUICK) == 1
    return model, folder / "whole"


FAILS_ONCE = """
import pathlib
from radialog_bench import Response
failed = pathlib.Path(__file__).with_name("failed")
class FailsOnce:
    needs_images = False
    asked = 0
    def generate(self, requests):
        for r in requests:
            self.asked += 1
            if failed.exists():
                yield Response(r.id, f"Edema, asked {self.asked}.")
            else:
                failed.touch()
                yield Response.failure(r.id, "timeout", "busy")
"""


def results(folder: Path) -> bytes:
    return (folder / "results.json").read_bytes()


def test_scoring_again_ends_with_the_same_bytes_and_asks_nobody(refusing: tuple[str, Path], tmp_path: Path) -> None:
    _, run = refusing
    assert bench("score", run, "-o", tmp_path / "s") == 1
    assert results(tmp_path / "s") == results(run)
    info, origin = read(tmp_path / "s" / "run.json"), read(run / "run.json")
    assert info["made_from"] == ["whole"]
    assert all(info[key] == origin[key] for key in ("model", "data", "config", "speed", "finished", "machine"))
    for name in ("samples", "statistics"):
        assert sorted(p.name for p in (run / name).iterdir()) == sorted(
            p.name for p in (tmp_path / "s" / name).iterdir()
        )
    first, again = (load_statistics(folder, "correction") for folder in (run, tmp_path / "s"))
    assert first.ids == again.ids
    assert bench("score", tmp_path / "s", "-o", tmp_path / "t") == 1
    assert results(tmp_path / "t") == results(run)


def test_a_shared_report_that_failed_once_counts_in_each_evaluation_as_it_did_in_the_run(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(FAILS_ONCE)
    model = f"{tmp_path / 'm.py'}:FailsOnce"
    arguments = ("-e", "report_generation,correction,findings_qa", "--limit", "3", "--bootstrap", "0")
    assert bench("run", "-m", model, "-o", tmp_path / "run", *arguments) == 1
    parts = read(tmp_path / "run" / "results.json")["evaluations"]
    assert {name: part["n_error"] for name, part in parts.items()} == {
        "report_generation": 1,
        "correction": 0,
        "findings_qa": 0,
    }
    assert bench("score", tmp_path / "run", "-o", tmp_path / "s") == 1
    assert results(tmp_path / "s") == results(tmp_path / "run")
    # One evaluation alone keeps what it had, and what was asked for another one before it.
    assert bench("score", tmp_path / "run", "-o", tmp_path / "c", "-e", "correction") == 0
    assert read(tmp_path / "c" / "results.json")["evaluations"]["correction"] == parts["correction"]
    # The run goes on and takes the report that failed; the corrections keep their own.
    assert bench("run", "-m", model, "-o", tmp_path / "run", *arguments) == 0
    assert bench("score", tmp_path / "run", "-o", tmp_path / "t") == 0
    assert results(tmp_path / "t") == results(tmp_path / "run")
    assert results(tmp_path / "t") != results(tmp_path / "s")


def test_other_settings_give_other_scores_of_the_same_answers(
    demo_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = Labeler("blank", "blank-v1", lambda texts: [make_labels({})] * len(texts))
    monkeypatch.setattr(rescore, "open_labeler", lambda name, *_: blank if name == "blank" else None)
    run = demo_runs / "retrieval"
    assert bench("score", run, "-o", tmp_path / "s", "--labeler", "blank", "-e", "report_generation") == 1
    part = read(tmp_path / "s" / "results.json")["evaluations"]["report_generation"]
    before = read(run / "results.json")["evaluations"]["report_generation"]
    assert part["metrics"]["bleu4"] == before["metrics"]["bleu4"]
    assert part["metrics"]["ce_micro_f1"]["value"] == 0
    assert "labeler:blank-v1" in part["metrics"]["ce_micro_f1"]["signature"]
    monkeypatch.undo()
    capsys.readouterr()
    arguments = ("-o", tmp_path / "v", "--view-parser", "released", "-e", "view_classification")
    assert bench("score", run, *arguments, "--bootstrap", "0", "--json") == 0
    metric = json.loads(capsys.readouterr().out)["evaluations"]["view_classification"]["metrics"]["accuracy"]
    assert metric["ci95"] is None
    assert "parser:released" in metric["signature"]
    assert bench("score", run, "-o", tmp_path / "v", "--seed", "4") == 2
    assert "belongs to a run with another" in capsys.readouterr().err


def test_an_ask_the_log_cannot_answer_is_a_failure_and_counted(demo_runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo_runs / "retrieval", run)
    (run / "results.json").unlink()
    log = run / "responses" / "view_classification.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-2]) + lines[-1][:40])
    changed = json.loads((run / "responses" / "impression.jsonl").read_text().splitlines()[0]) | {"neutral": "0" * 64}
    (run / "responses" / "impression.jsonl").write_text(json.dumps(changed) + "\n")
    assert bench("score", run, "-e", "view_classification,impression") == 1
    parts = read(tmp_path / "run-scored" / "results.json")["evaluations"]
    assert parts["view_classification"]["counts"] == {"failed: missing": 2}
    assert parts["view_classification"]["n_error"] == 2
    assert parts["impression"]["counts"]["failed: missing"] == 24
    assert parts["impression"]["n_scored"] == 0


@pytest.mark.parametrize("count", [1, 2])
def test_merged_shards_are_the_whole_run_to_the_byte(refusing: tuple[str, Path], tmp_path: Path, count: int) -> None:
    model, whole = refusing
    shards = [tmp_path / f"s{i}" for i in range(1, count + 1)]
    for i, folder in enumerate(shards, start=1):
        assert bench("run", "-m", model, "-o", folder, *QUICK, "--shard", f"{i}/{count}") in (0, 1)
    assert bench("merge", *reversed(shards), "-o", tmp_path / "m") == 1
    assert results(tmp_path / "m") == results(whole)
    info = read(tmp_path / "m" / "run.json")
    assert info["config"]["shard"] is None
    asked = {name: speed["asked"] for name, speed in info["speed"].items()}
    assert asked == {name: speed["asked"] for name, speed in read(whole / "run.json")["speed"].items()}
    # The merged folder is the run: going on with it asks nothing but what failed.
    assert bench("run", "-m", model, "-o", tmp_path / "m", *QUICK) == 1
    assert results(tmp_path / "m") == results(whole)


def test_a_patient_lies_in_one_shard_and_a_limit_counts_before_it(tmp_path: Path) -> None:
    seen: list[set[str]] = []
    for i in (1, 2):
        base = ("run", "-m", "constant", "-e", "report_generation", "--bootstrap", "0", "--limit", "10")
        assert bench(*base, "--shard", f"{i}/2", "-o", tmp_path / f"{i}") == 0
        lines = (tmp_path / f"{i}" / "samples" / "report_generation.jsonl").read_text().splitlines()
        seen.append({json.loads(line)["subject_id"] for line in lines})
        counts = read(tmp_path / f"{i}" / "results.json")["evaluations"]["report_generation"]["counts"]
        assert counts == {"beyond --limit": 14, "in another shard": 10 - len(lines)}
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 10


def test_shards_that_do_not_belong_together_are_refused(
    refusing: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("run", "-m", "constant", "-e", "view_classification", "--bootstrap", "0")
    for i in (1, 2):
        assert bench(*base, "--shard", f"{i}/2", "-o", tmp_path / f"a{i}") == 0
    for name, of, changes in (
        ("again", "a1", {}),
        ("three", "a2", {"config__shard": "2/3"}),
        ("other", "a2", {"config__on_error": "skip"}),
        ("echo", "a2", {"model__fingerprint": "0"}),
        ("data", "a2", {"data__manifest_sha256": "0"}),
    ):
        shutil.copytree(tmp_path / of, tmp_path / name)
        rewrite(tmp_path / name / "run.json", **changes)
    out = ("-o", tmp_path / "m")
    capsys.readouterr()
    for folders, code, message in (
        (("a1",), 2, "shard 2/2 is missing"),
        (("a1", "again", "a2"), 2, "shard 1/2 is there twice"),
        (("a1", "a1"), 2, "a folder is given twice"),
        (("a1", "three"), 2, "another number of shards"),
        (("a1", "other"), 2, "another on-error"),
        (("a1", "echo"), 2, "another model"),
        (("a1", "data"), 3, "the data are not those of the run"),
        (("a1", "nowhere"), 3, "run.json is missing"),
    ):
        assert bench("merge", *(tmp_path / name for name in folders), *out) == code
        assert message in capsys.readouterr().err
        assert not (tmp_path / "m").exists()
    assert bench("merge", refusing[1], *out) == 2
    assert "not a shard, but a whole run" in capsys.readouterr().err
    (tmp_path / "a2" / "results.json").unlink()
    assert bench("merge", tmp_path / "a1", tmp_path / "a2", *out) == 3
    assert "the run is unfinished" in capsys.readouterr().err


def test_only_the_samples_that_were_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("ls", "requests", "-e", "view_classification", "--limit", "3") == 0
    names = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
    (tmp_path / "ids.txt").write_text("\n".join(names) + "\n")
    for given, folder in ((",".join(names), "a"), (str(tmp_path / "ids.txt"), "b")):
        arguments = ("--bootstrap", "0", "--sample-ids", given, "-o", tmp_path / folder)
        assert bench("run", "-m", "constant", *arguments) == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")
    parts = read(tmp_path / "a" / "results.json")["evaluations"]
    assert parts.keys() == {"view_classification"}
    assert parts["view_classification"]["counts"] == {"not in --sample-ids": 21}
    assert bench("run", "-m", "constant", "--sample-ids", names[0] + "x", "-o", tmp_path / "c") == 2
    assert f"did you mean {names[0]}?" in capsys.readouterr().err
    assert bench("run", "-m", "constant", "--sample-ids", " , ", "-o", tmp_path / "c") == 2
    for shard in ("0/2", "3/2", "1", "a/b"):
        assert bench("run", "-m", "constant", "--shard", shard, "-o", tmp_path / "c") == 2
        assert "is not a shard" in capsys.readouterr().err


def test_data_that_changed_is_not_scored(demo_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo_runs / "constant", run)
    info = read(run / "run.json")
    info["data"]["manifest_sha256"] = "0" * 64
    (run / "run.json").write_text(json.dumps(info))
    assert bench("score", run) == 3
    assert "the data are not those of the run" in capsys.readouterr().err
    info["config"]["temperature"] = 2
    (run / "run.json").write_text(json.dumps(info))
    assert bench("score", run) == 3
    assert "settings of another version (temperature" in capsys.readouterr().err
    shutil.rmtree(run / "responses")
    del info["config"]["temperature"]
    (run / "run.json").write_text(json.dumps(info))
    assert bench("score", run) == 3
    assert "no response log here" in capsys.readouterr().err


def test_a_damaged_log_names_its_line(demo_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo_runs / "constant", run)
    log = run / "responses" / "impression.jsonl"
    log.write_text('{"id": 1}\n' + log.read_text())
    assert bench("score", run) == 3
    assert "impression.jsonl:1: not a response of this version" in capsys.readouterr().err
