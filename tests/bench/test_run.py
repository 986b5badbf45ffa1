from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from radialog_bench.cli import app
from radialog_bench.evaluations import EVALUATION_NAMES
from radialog_instruct.assets import demo_dir
from radialog_instruct.terminal import run_app

FAST = ("--bootstrap", "50")


def bench(*arguments: str) -> int:
    return run_app(app, "radialog-bench", arguments)


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with finished runs of the baselines on the demo."""
    folder = tmp_path_factory.mktemp("runs")
    for model in ("oracle", "constant", "retrieval", "echo"):
        assert bench("run", "-m", model, "-o", str(folder / model), *FAST) == 0
    return folder


def test_the_oracle_reaches_every_ceiling_and_the_constant_does_not(runs: Path) -> None:
    for part in results(runs / "oracle")["evaluations"].values():
        for name, metric in part["metrics"].items():
            assert metric["value"] == (metric["ceiling"] if name != "delta_ce_macro_f1" else 0), name
    constant = results(runs / "constant")["evaluations"]
    for part in constant.values():
        for name, metric in part["metrics"].items():
            # A model that always says the same corrects nothing, and the reference has nothing to correct.
            assert name == "delta_ce_macro_f1" or metric["value"] < metric["ceiling"]
    views = results(runs / "oracle")["evaluations"]["view_classification"]["metrics"]
    assert views["accuracy"]["value"] == 1


def test_retrieval_never_answers_with_the_study_or_its_patient(runs: Path) -> None:
    from radialog_instruct.records import Split
    from radialog_instruct.sources import open_source

    studies = list(open_source("demo").studies())
    own = {s.study_id: s.sections.findings for s in studies}
    pool = {s.sections.findings for s in studies if s.split is Split.TRAIN}
    for line in (runs / "retrieval" / "samples" / "report_generation.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert record["prediction"] in pool
        assert record["prediction"] != own[record["study_id"]] or own[record["study_id"]] in pool


def test_results_have_intervals_signatures_and_no_time_or_machine(runs: Path) -> None:
    text = (runs / "constant" / "results.json").read_text()
    bleu = json.loads(text)["evaluations"]["report_generation"]["metrics"]["bleu4"]
    assert bleu["ci95"][0] <= bleu["value"] <= bleu["ci95"][1]
    assert bleu["signature"] == "bleu4|protocol:radialog|tok:nltk-word|lower|v1"
    ce = json.loads(text)["evaluations"]["report_generation"]["metrics"]["ce_macro_f1"]
    assert ce["signature"].startswith("ce_macro_f1|labeler:rules-v2-")
    assert str(runs) not in text
    assert json.loads((runs / "constant" / "run.json").read_text())["started"] not in text


def test_running_again_asks_nothing_and_ends_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (runs / "constant" / "results.json").read_bytes()
    assert bench("run", "-m", "constant", "-o", str(runs / "constant"), *FAST, "--batch-size", "3") == 0
    assert "0 were asked" in capsys.readouterr().err
    assert (runs / "constant" / "results.json").read_bytes() == before


@pytest.mark.parametrize("batch", ["1", "5"])
def test_batch_size_does_not_change_a_score(runs: Path, tmp_path: Path, batch: str) -> None:
    assert bench("run", "-m", "retrieval", "-o", str(tmp_path / "r"), *FAST, "--batch-size", batch) == 0
    assert results(tmp_path / "r") == results(runs / "retrieval")


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    model = tmp_path / "slow.py"
    model.write_text(
        "import time\nfrom radialog_bench import Response\n"
        "class Slow:\n"
        "    def generate(self, requests):\n"
        "        for r in requests:\n"
        "            time.sleep(0.05)\n"
        f"            open({str(tmp_path / 'asked')!r}, 'a').write(r.id + chr(10))\n"
        "            yield Response(r.id, 'There is cardiomegaly. AP ' + r.id[-3:])\n"
    )
    command = [sys.executable, "-m", "radialog_bench.cli", "run", "-m", f"{model}:Slow", *FAST, "--batch-size", "2"]
    command += ["-e", "report_generation,view_classification"]
    process = subprocess.Popen([*command, "-o", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    log = tmp_path / "killed" / "responses" / "report_generation.jsonl"
    while not (log.is_file() and log.read_bytes().count(b"\n") >= 8) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    logged = log.read_bytes().count(b"\n")
    asked_before = (tmp_path / "asked").read_text().split()
    assert 8 <= logged < 24
    subprocess.run([*command, "-o", str(tmp_path / "killed")], check=True, capture_output=True)
    asked_after = (tmp_path / "asked").read_text().split()[len(asked_before) :]
    durable = {json.loads(line)["id"] for line in log.read_text().splitlines()[:logged]}
    assert not durable & set(asked_after)
    assert len(asked_after) == len(set(asked_after)) == 48 - logged
    subprocess.run([*command, "-o", str(tmp_path / "whole")], check=True, capture_output=True)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_ctrl_c_prints_how_to_resume(tmp_path: Path) -> None:
    model = tmp_path / "slow.py"
    model.write_text(
        "import time\nclass Slow:\n    def generate(self, requests):\n        time.sleep(30)\n        return []\n"
    )
    command = [sys.executable, "-m", "radialog_bench.cli", "run", "-m", f"{model}:Slow", "-o", str(tmp_path / "r")]
    # A test run in the background of a shell inherits an ignored SIGINT; the command must not.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    deadline = time.monotonic() + 60
    while not (tmp_path / "r" / "run.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("radialog-bench: interrupted; resume with: radialog-bench run")
    assert not (tmp_path / "r" / "results.json").exists()


def test_predictions_made_elsewhere_score_like_the_model_that_made_them(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for path in (runs / "retrieval" / "responses").glob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        texts = [json.dumps({"id": r["id"], "text": r["text"]}) for r in records]
        (tmp_path / "p" / path.name).write_text("\n".join(texts))
    assert bench("run", "-m", f"predictions:{tmp_path / 'p'}", "-o", str(tmp_path / "r"), *FAST) == 0
    assert results(tmp_path / "r")["evaluations"] == results(runs / "retrieval")["evaluations"]


def test_missing_answers_are_counted_and_never_text(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "report_generation.jsonl").write_text(json.dumps({"id": "nobody", "text": "x"}))
    base = ("run", "-m", f"predictions:{tmp_path / 'p'}", "-e", "report_generation", *FAST)
    assert bench(*base, "-o", str(tmp_path / "r")) == 5
    part = results(tmp_path / "r")["evaluations"]["report_generation"]
    assert (part["n"], part["n_scored"], part["n_error"]) == (24, 0, 24)
    assert part["counts"] == {"failed: missing": 24}
    assert part["metrics"]["bleu1"]["value"] == 0


@pytest.mark.parametrize(("policy", "code", "n"), [("zero", 1, 24), ("skip", 1, 23), ("fail", 1, None)])
def test_on_error_decides_what_a_failed_sample_counts_as(tmp_path: Path, policy: str, code: int, n: int | None) -> None:
    model = tmp_path / "m.py"
    model.write_text(
        "from radialog_bench import Response\nclass M:\n    def generate(self, requests):\n"
        "        for i, r in enumerate(requests):\n"
        "            bad = r.id.endswith('nih-00029696_000')\n"
        "            yield Response.failure(r.id, 'adapter', 'no') if bad else Response(r.id, 'The heart is enlarged.')\n"
    )
    out = tmp_path / "r"
    arguments = ("-e", "report_generation", "--on-error", policy, "-o", str(out), *FAST)
    assert bench("run", "-m", f"{model}:M", *arguments) == code
    if n is None:
        assert not (out / "results.json").exists()
    else:
        part = results(out)["evaluations"]["report_generation"]
        assert part["metrics"]["bleu1"]["n"] == n
        assert part["n_error"] == 1


@pytest.fixture
def damaged_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the demo with one image missing and one cut short."""
    import radialog_instruct.sources.demo as demo

    copy = tmp_path / "demo"
    shutil.copytree(demo_dir(), copy)
    (copy / "images" / "nih-00029696_000.jpg").unlink()
    victim = copy / "images" / "hannover-7b68340a.jpg"
    if not victim.exists():
        victim = sorted(copy.glob("images/hannover-*.jpg"))[-1]
    victim.write_bytes(victim.read_bytes()[:2000])
    monkeypatch.setattr(demo, "demo_dir", lambda: copy)
    return copy


def test_missing_images_stop_a_model_that_needs_them_before_it_is_asked(
    damaged_demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.py"
    model.write_text(
        "from radialog_bench import Response\nclass M:\n    def generate(self, requests):\n"
        "        return [Response(r.id, 'PA') for r in requests]\n"
    )
    base = ("run", "-m", f"{model}:M", "--split", "all", *FAST, "-o")
    assert bench(*base, str(tmp_path / "r")) == 3
    assert "2 of 60 images cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert bench(*base, str(tmp_path / "r"), "--limit-to-images") == 0
    counts = results(tmp_path / "r")["evaluations"]["view_classification"]["counts"]
    assert counts == {"image damaged or cut short": 1, "image file missing": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-m", "constnt"), 2, "did you mean constant?"),
        (("-m", "constant", "-e", "reports"), 2, "no evaluation 'reports'"),
        (("-m", "constant", "--data", "mimic"), 2, "no data 'mimic'"),
        (("-m", "constant", "--split", "dev"), 2, "--split"),
        (("-m", "constant", "--model-args", "batch"), 2, "not key=value"),
        (("-m", "constant", "--model-args", "x=1"), 2, "takes: none"),
        (("-m", "constant", "--labeler", "gpt"), 2, "choose from: chexbert, rules"),
        (("-m", "constant", "--on-error", "ignore"), 2, "--on-error"),
        (("-m", "constant", "--data", "iu-xray", "--root", "{tmp}/none"), 3, "no such folder"),
        (("-m", "constant", "--data", "iu-xray"), 2, "--root"),
        (("-m", "constant", "--frobnicate"), 2, "--frobnicate"),
        ((), 2, "--model"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert bench("run", *given, "-o", str(tmp_path / "r")) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("radialog-bench: ")
    assert message in error
    assert not (tmp_path / "r" / "results.json").exists()


def test_a_folder_of_another_run_or_of_other_files_is_left_alone(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (runs / "constant" / "run.json").read_bytes()
    assert bench("run", "-m", "echo", "-o", str(runs / "constant"), *FAST) == 2
    assert "belongs to a run with another model" in capsys.readouterr().err
    assert bench("run", "-m", "constant", "--limit", "3", "-o", str(runs / "constant"), *FAST) == 2
    assert "another data and limit" in capsys.readouterr().err
    assert (runs / "constant" / "run.json").read_bytes() == before
    (tmp_path / "notes.txt").write_text("mine")
    assert bench("run", "-m", "echo", "-o", str(tmp_path), *FAST) == 2
    assert "holds other files" in capsys.readouterr().err
    (tmp_path / "f").write_text("")
    assert bench("run", "-m", "echo", "-o", str(tmp_path / "f" / "r"), *FAST) == 2
    assert "cannot write: Not a directory" in capsys.readouterr().err


def test_listings_and_json_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what, expected in (("models", "radialog-project"), ("evaluations", "view_class"), ("metrics", "bleu4|proto")):
        assert bench("ls", what) == 0
        assert expected in capsys.readouterr().out
    assert bench("ls", "requests", "--limit", "2") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 * len(EVALUATION_NAMES)
    assert Path(lines[0]["image"]).is_file()
    assert bench("run", "-m", "constant", "--limit", "2", "-o", str(tmp_path / "r"), *FAST, "--json") == 0
    assert json.loads(capsys.readouterr().out)["evaluations"]["report_generation"]["n"] == 2


def test_help_imports_no_torch_and_a_run_of_a_baseline_neither(tmp_path: Path) -> None:
    code = (
        "import sys; from radialog_bench.cli import app; from radialog_instruct.terminal import run_app;"
        f"run_app(app, 'x', ['run', '-m', 'constant', '--limit', '1', '-o', {str(tmp_path / 'r')!r}]);"
        "assert 'torch' not in sys.modules and 'radialog_model' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert result.returncode == 0, result.stderr


@pytest.mark.shared_data
def test_the_real_iu_studies_with_images_run_through(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(shared_data / "iu_xray")
    base = ("run", "--data", "iu-xray", "--root", root, "--split", "all", "--model", "retrieval", *FAST)
    base += ("--text-metrics", "none")  # BERTScore's encoder is not on this machine
    assert bench(*base, "--output-dir", str(tmp_path / "r")) == 1
    assert "chexbert labeler is not available" in capsys.readouterr().err
    part = results(tmp_path / "r")["evaluations"]["report_generation"]
    assert (part["n"], part["n_studies"], part["n_scored"]) == (13, 12, 13)
    assert part["metrics"]["ce_macro_f1"]["value"] is None
    assert 0 < part["metrics"]["bleu1"]["value"] < 1
    assert bench(*base, "--labeler", "rules", "--output-dir", str(tmp_path / "s")) == 0
