from __future__ import annotations

import json
from pathlib import Path

import pytest

from radialog_instruct.cli import app
from radialog_instruct.synth.mimic import write_mimic_tree
from radialog_instruct.terminal import run_app


def test_what_is_there_and_who_holds_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "tree"
    write_mimic_tree(tree, 40)
    jpg, cxr = tree / "mimic-cxr-jpg", tree / "mimic-cxr"
    assert run_app(app, "radialog-instruct", ["doctor", str(jpg), str(cxr), "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["mimic-cxr-2.0.0-split.csv.gz"]["found_in"] == str(jpg)
    assert {entry["source"] for entry in found.values()} == {"mimic-cxr"}
    assert run_app(app, "radialog-instruct", ["doctor", str(jpg)]) == 3
    captured = capsys.readouterr()
    assert "mimic-cxr-reports.zip" in captured.err
    assert "physionet.org/content/mimic-cxr" in captured.err
    assert "missing" in captured.out
