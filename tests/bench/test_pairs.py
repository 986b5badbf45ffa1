from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from radialog_bench.stored import load_statistics
from tests.bench.conftest import bench, read

RULES = ("--labeler", "rules", "--bootstrap", "20", "--text-metrics", "none")


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def of_run(run: Path) -> list[dict[str, Any]]:
    lines = (run / "samples" / "report_generation.jsonl").read_text().splitlines()
    keys = ("id", "prediction", "reference", "subject_id", "study_id")
    return [{key: json.loads(line)[key] for key in keys} for line in lines]


def test_pairs_score_like_the_run_they_come_from(demo_runs: Path, tmp_path: Path) -> None:
    pairs = write(tmp_path / "p.jsonl", *of_run(demo_runs / "retrieval"))
    assert bench("score", "--pairs", pairs, *RULES) == 0
    part = read(tmp_path / "p-scored" / "results.json")["evaluations"]["pairs"]
    run = read(demo_runs / "retrieval" / "results.json")["evaluations"]["report_generation"]
    assert part["metrics"] == run["metrics"]
    assert part["tables"] == run["tables"]
    assert (tmp_path / "p-scored" / "report.html").is_file()


def test_two_files_of_pairs_compare(demo_runs: Path, tmp_path: Path) -> None:
    for name in ("constant", "retrieval"):
        pairs = write(tmp_path / f"{name}.jsonl", *of_run(demo_runs / name))
        assert bench("score", "--pairs", pairs, "-o", tmp_path / name, *RULES) == 0
    arguments = ("--resamples", "50", "-o", tmp_path / "c.json")
    assert bench("compare", tmp_path / "constant", tmp_path / "retrieval", *arguments) == 0
    found = read(tmp_path / "c.json")["evaluations"]["pairs"]
    assert found["n_clusters"] == 24
    assert found["metrics"]["bleu4"]["difference"] != 0


def test_patients_studies_and_missing_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clear = {"prediction": "The lungs are clear.", "reference": "The lungs\nare clear."}
    pairs = write(
        tmp_path / "p.jsonl",
        {"id": "a", **clear, "subject_id": 7, "study_id": "s1"},
        {"id": "b", **clear, "study_id": "s1", "model": "x"},
        {"id": 3, "prediction": None, "reference": "There is edema."},
    )
    assert bench("score", "--pairs", pairs, "-o", tmp_path / "s", *RULES) == 1
    assert "'model' is not used (1 lines)" in capsys.readouterr().err
    part = read(tmp_path / "s" / "results.json")["evaluations"]["pairs"]
    assert (part["n"], part["n_studies"], part["n_error"]) == (3, 2, 1)
    assert part["counts"] == {"failed: missing": 1}
    assert load_statistics(tmp_path / "s", "pairs").clusters == ("7", "s1", "3")
    assert part["metrics"]["rouge_l"]["value"] == pytest.approx(2 / 3)
    # Nobody knows the terms of these texts, so the page shows none.
    assert "lungs are clear" not in (tmp_path / "s" / "report.html").read_text()
    assert bench("score", "--pairs", pairs, "-o", tmp_path / "k", *RULES, "--on-error", "skip") == 1
    assert read(tmp_path / "k" / "results.json")["evaluations"]["pairs"]["metrics"]["rouge_l"]["n"] == 2


GOOD = '{"id": "a", "prediction": "x", "reference": "y"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}\nnot json", "p.jsonl:2: not JSON"),
        (f"{GOOD}\n\n[1]", "p.jsonl:3: a list instead of an object"),
        (f"{GOOD}\n{GOOD}", "p.jsonl:2: the id 'a' occurs twice"),
        ('{"prediction": "x", "reference": "y"}', "p.jsonl:1: id is missing"),
        ('{"id": "a", "reference": "y"}', "p.jsonl:1: prediction must be a text"),
        ('{"id": "a", "prediction": 3, "reference": "y"}', "p.jsonl:1: prediction must be a text"),
        ('{"id": "a", "prediction": "x"}', "p.jsonl:1: reference is missing"),
        ('{"id": "a", "prediction": "x", "reference": " "}', "p.jsonl:1: reference is ' '"),
        ('{"id": "a", "prediction": "x", "reference": "y", "subject_id": []}', "p.jsonl:1: subject_id is []"),
        ("\n", "no pair here"),
    ],
)
def test_a_bad_line_is_named(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    assert bench("score", "--pairs", tmp_path / "p.jsonl", *RULES) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p-scored").exists()


def test_what_pairs_are_not_for(demo_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "p.jsonl"
    pairs.write_text(GOOD)
    for arguments, code, message in (
        ((), 2, "give a run folder or --pairs FILE"),
        ((demo_runs / "constant", "--pairs", pairs), 2, "give a run folder or --pairs FILE"),
        (("--pairs", pairs, "--view-parser", "released"), 2, "--view-parser: means nothing with --pairs"),
        (("--pairs", tmp_path / "none.jsonl"), 3, "cannot read the pairs"),
        (("--pairs", pairs, "--on-error", "ignore"), 2, "--on-error"),
        (("--pairs", pairs, "--labeler", "gpt"), 2, "choose from: chexbert, rules"),
    ):
        assert bench("score", *arguments) == code
        assert message in capsys.readouterr().err
    assert bench("score", "--pairs", pairs, *RULES) == 0
    assert bench("score", tmp_path / "p-scored") == 2
    assert "made from a file of pairs" in capsys.readouterr().err
