from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import bench, read

BASE = ("run", "-m", "constant", "-e", "view_classification", "--bootstrap", "0")


def test_a_file_is_the_same_as_its_flags(tmp_path: Path) -> None:
    text = """
    model: constant
    evaluations: [view_classification, impression]
    limit: 5
    bootstrap: 0
    on_error: skip
    include-text: true
    seed: null
    """
    (tmp_path / "run.yaml").write_text("\n".join(line.strip() for line in text.splitlines()))
    assert bench("run", "--config", tmp_path / "run.yaml", "-o", tmp_path / "file") == 0
    flags = ("-e", "view_classification,impression", "--limit", "5", "--bootstrap", "0", "--on-error", "skip")
    assert bench("run", "-m", "constant", *flags, "--include-text", "-o", tmp_path / "flags") == 0
    assert (tmp_path / "file" / "results.json").read_bytes() == (tmp_path / "flags" / "results.json").read_bytes()
    assert read(tmp_path / "file" / "run.json")["config"] == read(tmp_path / "flags" / "run.json")["config"]


def test_a_flag_on_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: echo\nlimit: 5\nbootstrap: 0\n")
    arguments = ("--config", tmp_path / "run.yaml", "--limit", "2", "-m", "constant", "-e", "impression")
    assert bench("run", *arguments, "-o", tmp_path / "r") == 0
    config = read(tmp_path / "r" / "run.json")["config"]
    assert (config["model"], config["limit"], config["bootstrap"]) == ("constant", 2, 0)


def test_model_arguments_keep_their_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.py").write_text(
        "from radialog_bench import Response\nclass M:\n    needs_images = False\n"
        "    def __init__(self, findings, n, on, name, share=0.5): self.args = (findings, n, on, name, share)\n"
        "    def generate(self, requests):\n        return [Response(r.id, repr(self.args)) for r in requests]\n"
    )
    text = f"model: {tmp_path / 'm.py'}:M\nmodel-args: {{findings: off, n: 3, on: true, name: '7', share: null}}\n"
    (tmp_path / "run.yaml").write_text(text)
    arguments = ("--config", tmp_path / "run.yaml", "-e", "impression", "--limit", "1", "--bootstrap", "0")
    assert bench("run", *arguments, "-o", tmp_path / "r") == 0
    record = json.loads((tmp_path / "r" / "samples" / "impression.jsonl").read_text())
    assert record["prediction"] == "('off', 3, True, '7', None)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modl: constant", "run.yaml:1: no flag --modl. did you mean model?"),
        ("model: constant\nbatchsize: 4", "run.yaml:2: no flag --batchsize. did you mean batch-size?"),
        ("model: constant\nlimit: 3\nlimit: 4", "run.yaml:3: limit is given twice"),
        ("model: constant\non-error: skip\non_error: zero", "run.yaml:3: on-error is given twice"),
        ("limit: 3", "--model"),
        ("model: constant\nlimit: many", "--limit"),
        ("model: constant\nlimit: 0", "--limit"),
        ("model: constant\nsplit: dev", "--split"),
        ("model: constant\nlimit: {a: 1}", "run.yaml:2: a mapping where one value belongs"),
        ("- model", "not a mapping of flags to values"),
        ("model: [", "not YAML"),
        ("config: other.yaml", "no flag --config"),
        ("model: constant\nimage: true\nno-image: true", "run.yaml:3: no-image is given twice"),
        (
            "model: constant\nno-image: often",
            "run.yaml:2: no-image is true or false. write no-image: true, or image: false",
        ),
        ("model: constant\nno-limit: true", "run.yaml:2: no flag --no-limit"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert bench("run", "--config", tmp_path / "run.yaml", "-o", tmp_path / "r") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("line", "shown"),
    [("image: false", False), ("no-image: true", False), ("no_image: false", True), ("no-image: null", True)],
)
def test_a_switch_can_be_written_as_either_of_its_flags(line: str, shown: bool, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"model: constant\nlimit: 1\n{line}\n")
    arguments = ("--config", tmp_path / "run.yaml", "-e", "impression", "--bootstrap", "0", "-o", tmp_path / "r")
    assert bench("run", *arguments) == 0
    assert read(tmp_path / "r" / "run.json")["config"]["image"] is shown


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("run", "--config", tmp_path / "none.yaml", "-m", "constant") == 2
    assert "none.yaml: cannot read: No such file" in capsys.readouterr().err


def test_comparisons_take_a_file_too(demo_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("test: [bootstrap, mcnemar]\nresamples: 20\nmetrics: bleu4\njson: true\n")
    assert bench("compare", demo_runs / "constant", demo_runs / "retrieval", "--config", tmp_path / "c.yaml") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["tests"], document["resamples"]) == (["bootstrap", "mcnemar"], 20)
