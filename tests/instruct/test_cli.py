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
    assert run("build", "--out", str(tmp_path / "d"), "--json") == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["rows"]["report_generation"]["test"] > 0
    assert run("build", "--out", str(tmp_path / "d")) == 0
    assert "report_generation" in capsys.readouterr().out
    assert run("preview", "--tasks", "view_classification", "-n", "2") == 0
    printed = capsys.readouterr().out
    assert printed.count("USER:") >= 2
    assert "ASSISTANT: " in printed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("build", "--out", "{tmp}/d", "--source", "iu_xry"), 2, "iu-xray"),
        (("build", "--out", "{tmp}/d", "--tasks", "impresion"), 2, "did you mean impression?"),
        (("build", "--out", "{tmp}/d", "--tasks", ","), 2, "no task given"),
        (("build", "--out", "{tmp}/d", "--source", "iu-xray", "--root", "{tmp}/none"), 3, "none"),
        (("build", "--out", "{tmp}/d", "--wrokers", "2"), 2, "--wrokers"),
        (("build", "--out", "{tmp}/d", "--workers", "0"), 2, "--workers"),
        (("build", "--out", "{tmp}/d", "--yes-fraction", "1"), 2, "--yes-fraction"),
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
