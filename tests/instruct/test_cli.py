from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from radialog_instruct.cli import app
from radialog_instruct.terminal import run_app


def run(*arguments: str) -> int:
    return run_app(app, "radialog-instruct", arguments)


def test_build_prints_counts_and_preview_prints_chats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "--out", str(tmp_path / "d"), "--mixture", "full", "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["rows"]["report_generation"]["test"] > 0
    assert run("build", "--out", str(tmp_path / "d"), "--mixture", "full") == 0
    assert "report_generation" in capsys.readouterr().out
    assert run("preview", "--tasks", "view_classification", "-n", "2") == 0
    printed = capsys.readouterr().out
    assert printed.count("USER:") >= 2
    assert "ASSISTANT: " in printed


def test_labels_are_written_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.parquet"
    assert run("label", "--out", str(labels), "--sections", "both") == 0
    assert "60 reports labelled by rules-v2-" in capsys.readouterr().out
    assert run("plan", "--labels", str(labels), "--mixture", "full", "--json") == 0
    with_file = json.loads(capsys.readouterr().out)
    assert run("plan", "--mixture", "full", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == with_file["rows"]


def test_a_synthetic_tree_goes_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that synth-mimic prints builds a dataset, and the dataset passes its checks."""
    import shlex

    assert run("synth-mimic", "--studies", "60", "--out", str(tmp_path / "s")) == 0
    printed = capsys.readouterr().out.splitlines()[-1].replace("DATASET", str(tmp_path / "d"))
    assert run(*shlex.split(printed)[1:]) == 0
    assert run("check", str(tmp_path / "d")) == 0
    assert run("report", str(tmp_path / "d")) == 0
    assert (tmp_path / "d" / "report.html").is_file()
    assert run("check", str(tmp_path / "d"), "--json") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("build", "--out", "{tmp}/d", "--source", "iu_xry"), 2, "iu-xray"),
        (("build", "--out", "{tmp}/d", "--tasks", "impresion"), 2, "did you mean impression?"),
        (("build", "--out", "{tmp}/d", "--tasks", ","), 2, "no task given"),
        (("build", "--out", "{tmp}/d", "--source", "iu-xray", "--root", "{tmp}/none"), 3, "none"),
        (("build", "--out", "{tmp}/d", "--wrokers", "2"), 2, "--wrokers"),
        (("build", "--out", "{tmp}/d", "--workers", "0"), 2, "--workers"),
        (("build", "--out", "{tmp}/d", "--set", "findings_qa_binary.yes_fraction=1"), 2, "yes_fraction"),
        (("build", "--out", "{tmp}/d", "--mixture", "ful"), 2, "choose full, paper"),
        (("build", "--out", "{tmp}/d", "--overlap", "lax"), 2, "--overlap"),
        (("build", "--out", "{tmp}/d", "--rad-restruct", "{tmp}"), 3, "no Rad-ReStruct here"),
        (("build", "--out", "{tmp}/d", "--labels", "{tmp}/none.parquet"), 3, "not a label file"),
        (("plan", "--source", "demo", "--reports", "{tmp}"), 2, "--reports: it belongs to mimic-cxr"),
        (("plan", "--source", "mimic-cxr"), 2, "--root"),
        (("plan", "--source", "mimic-cxr", "--root", "{tmp}"), 3, "the table is missing"),
        (("check", "{tmp}"), 3, "no built dataset here"),
        (("report", "{tmp}"), 3, "no manifest.json here"),
        (("doctor", "{tmp}"), 3, "no file of MIMIC-CXR"),
        (("doctor", "{tmp}/none"), 3, "no such folder"),
        (("label", "--out", "{tmp}/l.parquet", "--labeler", "gpt"), 2, "choose rules or chexbert"),
        (("label", "--out", "{tmp}/l.parquet", "--sections", "all"), 2, "--sections"),
        (("synth-mimic", "--out", "{tmp}/s", "--studies", "3"), 2, "at least 40"),
        (("synth-mimic", "--out", "{tmp}/s", "--images", "big"), 2, "--images"),
        (("build", "--out", "{tmp}/d", "--templates", "{tmp}/none"), 2, "no such template folder"),
        (("build",), 2, "--out"),
        (("preview", "--study", "nobody"), 3, "no study 'nobody'"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(argument.format(tmp=tmp_path) for argument in arguments)) == code
    error = capsys.readouterr().err
    assert error.startswith("radialog-instruct: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("*.parquet"))


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from radialog_instruct.cli import app; from radialog_instruct.terminal import run_app;"
        "run_app(app, 'x', ['--help']); bad = {'torch', 'datasets', 'pyarrow'} & set(sys.modules); assert not bad, bad"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "build" in result.stdout
