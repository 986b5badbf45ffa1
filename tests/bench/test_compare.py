from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radialog_bench.comparison import Comparison
from radialog_bench.metrics.significance import holm
from radialog_bench.stored import load_statistics
from tests.bench.conftest import bench, read, rewrite

QUICK = ("--resamples", "99")


@pytest.fixture
def copies(demo_runs: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return copies of two runs that a test may damage."""
    for name in ("constant", "retrieval"):
        shutil.copytree(demo_runs / name, tmp_path / name)
    return tmp_path / "constant", tmp_path / "retrieval"


def compare(a: Path, b: Path, output: Path, *arguments: str, code: int = 0) -> Comparison:
    assert bench("compare", a, b, "-o", output, *QUICK, *arguments) == code
    return Comparison.model_validate_json(output.read_text())


def test_two_runs_with_values_differences_intervals_and_tests(demo_runs: Path, tmp_path: Path) -> None:
    found = compare(demo_runs / "constant", demo_runs / "retrieval", tmp_path / "c.json")
    results = [read(demo_runs / name / "results.json")["evaluations"] for name in ("constant", "retrieval")]
    assert found.evaluations.keys() == results[0].keys()
    for name, part in found.evaluations.items():
        assert (part.n, part.n_a, part.n_b) == (24, 24, 24)
        for metric, row in part.metrics.items():
            values = [side[name]["metrics"][metric]["value"] for side in results]
            assert (row.a, row.b) == tuple(values), metric
            assert row.difference == row.b - row.a
            assert row.ci95[0] - 1e-12 <= row.ci95[1]
            assert {"bootstrap", "randomisation"} <= row.p.keys() == row.p_holm.keys()
            assert all(1 / 100 <= row.p[test] <= row.p_holm[test] <= 1 for test in row.p)
    view = found.evaluations["view_classification"].metrics
    assert "mcnemar" in view["accuracy"].p
    assert "mcnemar" not in view["macro_f1"].p
    rows = [row for part in found.evaluations.values() for row in part.metrics.values()]
    assert found.n_hypotheses["bootstrap"] == found.n_hypotheses["randomisation"] == len(rows)
    assert 1 <= found.n_hypotheses["mcnemar"] < 5
    assert [row.p_holm["bootstrap"] for row in rows] == holm([row.p["bootstrap"] for row in rows])


def test_who_is_better_on_which_samples(demo_runs: Path, tmp_path: Path) -> None:
    found = compare(demo_runs / "constant", demo_runs / "retrieval", tmp_path / "c.json", "--metrics", "rouge_l")
    row = found.evaluations["report_generation"].metrics["rouge_l"].per_sample
    assert row.wins + row.losses + row.ties == 24
    gains = [sample.difference for sample in row.gains]
    assert gains == sorted(gains, reverse=True)
    assert min(gains) > 0
    assert [s.difference for s in row.drops] == sorted(s.difference for s in row.drops)
    lines = (demo_runs / "retrieval" / "samples" / "report_generation.jsonl").read_text().splitlines()
    scores = {record["id"]: record["scores"]["rouge_l"] for record in map(json.loads, lines)}
    assert all(scores[sample.id] == pytest.approx(sample.b) for sample in (*row.gains, *row.drops))


def test_exchanging_the_runs_turns_the_signs(demo_runs: Path, tmp_path: Path) -> None:
    a, b = demo_runs / "constant", demo_runs / "retrieval"
    forward, backward = compare(a, b, tmp_path / "f.json"), compare(b, a, tmp_path / "b.json")
    for name, part in forward.evaluations.items():
        for metric, row in part.metrics.items():
            other = backward.evaluations[name].metrics[metric]
            assert (row.a, row.b, row.p, row.p_holm) == (other.b, other.a, other.p, other.p_holm)
            if row.per_sample is not None:
                assert (row.per_sample.wins, row.per_sample.losses) == (
                    other.per_sample.losses,
                    other.per_sample.wins,
                )


def test_a_run_against_itself_has_no_difference(demo_runs: Path, tmp_path: Path) -> None:
    found = compare(demo_runs / "constant", demo_runs / "constant", tmp_path / "c.json")
    for part in found.evaluations.values():
        assert all(row.difference == 0 for row in part.metrics.values())
        assert all(row.ci95 == pytest.approx((0, 0), abs=1e-12) for row in part.metrics.values())
        assert all(set(row.p_holm.values()) == {1.0} for row in part.metrics.values())


def test_the_table_names_what_it_shows(demo_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        demo_runs / "constant",
        demo_runs / "retrieval",
        "--metrics",
        "balanced_accuracy,bleu4,rouge_l",
        *QUICK,
    )
    assert bench("compare", *arguments) == 0
    out = capsys.readouterr().out
    assert "A: constant (constant) on demo, split test" in out
    assert "view_classification: n = 24 samples of 24 patients in both" in out
    assert "p mcnemar" in out
    assert "5 for bootstrap, 5 for randomisation, 0 for mcnemar" in out
    assert bench("compare", *arguments, "--json", "--test", "bootstrap") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tests"] == ["bootstrap"]
    assert document["evaluations"]["report_generation"]["metrics"]["bleu4"]["p"].keys() == {"bootstrap"}


def _signature(run: Path) -> None:
    path = run / "results.json"
    document = read(path)
    metric = document["evaluations"]["report_generation"]["metrics"]["bleu4"]
    metric["signature"] = metric["signature"].replace("nltk-word", "13a")
    path.write_text(json.dumps(document))


def _fewer_samples(run: Path) -> None:
    path = run / "statistics" / "view_classification.npz"
    with np.load(path) as arrays:
        np.savez_compressed(path, **{name: arrays[name][:-2] for name in arrays.files})


def _other_patients(run: Path) -> None:
    path = run / "statistics" / "impression.npz"
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    np.savez_compressed(path, **{**kept, "clusters": np.array(["same"] * len(kept["ids"]))})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: rewrite(run / "results.json", data__source="iu-xray"), "source (demo and iu-xray)"),
        (lambda run: rewrite(run / "results.json", data__split="all"), "split (test and all)"),
        (lambda run: rewrite(run / "results.json", data__manifest_sha256="f" * 64), "data manifest ("),
        (
            lambda run: rewrite(run / "results.json", evaluations__correction__version=9),
            "version of correction (1 and 9)",
        ),
        (_signature, "signature of report_generation bleu4 (tok:nltk-word and tok:13a)"),
        (_fewer_samples, "samples of view_classification (24 and 22, 22 in common)"),
        (_other_patients, "patients of impression"),
    ],
)
def test_runs_of_another_kind_are_refused_unless_forced(
    copies: tuple[Path, Path], damage: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copies[1])
    assert bench("compare", *copies, *QUICK) == 3
    error = capsys.readouterr().err
    assert message in error
    assert "--force" in error
    found = compare(*copies, tmp_path / "c.json", "--force")
    assert found.forced
    assert message in "; ".join(found.differences)
    assert message in capsys.readouterr().out.replace("\n", " ")


def test_all_differences_are_named_at_once(copies: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(copies[1] / "results.json", data__split="all", evaluations__impression__version=2)
    _signature(copies[1])
    assert bench("compare", *copies, *QUICK) == 3
    error = capsys.readouterr().err
    assert all(word in error for word in ("split", "version of impression", "signature of report_generation"))


def test_a_forced_comparison_goes_over_the_common_samples(copies: tuple[Path, Path], tmp_path: Path) -> None:
    _fewer_samples(copies[1])
    found = compare(*copies, tmp_path / "c.json", "--force", "-e", "view_classification")
    part = found.evaluations["view_classification"]
    assert (part.n, part.n_a, part.n_b) == (22, 24, 22)
    row = part.metrics["accuracy"]
    ids = load_statistics(copies[1], "view_classification").ids
    lines = (copies[0] / "samples" / "view_classification.jsonl").read_text().splitlines()
    right = [record["scores"]["accuracy"] for record in map(json.loads, lines) if record["id"] in ids]
    assert row.a == pytest.approx(np.mean(right))


def test_a_run_of_one_evaluation_compares_with_one_of_all(demo_runs: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    assert bench("run", "-m", "retrieval", "-e", "report_generation", "-o", one, "--bootstrap", "0") == 0
    found = compare(demo_runs / "constant", one, tmp_path / "c.json")
    assert list(found.evaluations) == ["report_generation"]
    assert found.left_out["correction"] == "only in A"
    lines = (one / "samples" / "report_generation.jsonl").read_text().replace("The ", "A ", 1)
    (one / "samples" / "report_generation.jsonl").write_text(lines)
    record = json.loads(lines.splitlines()[0])
    record["reference"] += " Another sentence."
    (one / "samples" / "report_generation.jsonl").write_text(json.dumps(record) + "\n")
    assert bench("compare", demo_runs / "constant", one, *QUICK) == 3


def test_a_metric_without_a_value_is_named_and_the_exit_code_says_so(
    copies: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = read(copies[1] / "results.json")
    metric = document["evaluations"]["report_generation"]["metrics"]["bleu1"]
    metric |= {"value": None, "ci95": None, "unavailable": "no Java"}
    (copies[1] / "results.json").write_text(json.dumps(document))
    found = compare(*copies, tmp_path / "c.json", "-e", "report_generation", code=1)
    row = found.evaluations["report_generation"].metrics["bleu1"]
    assert (row.difference, row.p, row.unavailable) == (None, {}, "no value in B: no Java")
    assert found.n_hypotheses["bootstrap"] == len(found.evaluations["report_generation"].metrics) - 1
    assert "not compared: bleu1: no value in B: no Java" in capsys.readouterr().out
    assert bench("compare", *copies, "--metrics", "bleu1", "-e", "report_generation", *QUICK) == 5


def test_scores_that_are_not_numbers_are_no_difference(copies: tuple[Path, Path], tmp_path: Path) -> None:
    path = copies[1] / "statistics" / "report_generation.npz"
    with np.load(path) as arrays:
        kept = {name: arrays[name].copy() for name in arrays.files}
    kept["rouge_l"][3, 0] = np.nan
    np.savez_compressed(path, **kept)
    found = compare(*copies, tmp_path / "c.json", "--metrics", "rouge_l,bleu1", "-e", "report_generation", code=1)
    rows = found.evaluations["report_generation"].metrics
    assert rows["rouge_l"].unavailable == "undefined on the common samples"
    assert rows["bleu1"].difference is not None
    assert "NaN" not in (tmp_path / "c.json").read_text()


def test_mcnemar_comes_with_a_word_about_patients(copies: tuple[Path, Path], tmp_path: Path) -> None:
    for run in copies:
        path = run / "statistics" / "view_classification.npz"
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        clusters = np.array([f"p{i // 2}" for i in range(len(kept["ids"]))])
        np.savez_compressed(path, **{**kept, "clusters": clusters})
    found = compare(*copies, tmp_path / "c.json", "-e", "view_classification")
    assert found.evaluations["view_classification"].n_clusters == 12
    assert "24 samples come from 12 patients" in found.remarks[0]


@pytest.mark.parametrize(
    ("prepare", "arguments", "code", "message"),
    [
        (lambda a: shutil.rmtree(a), (), 3, "run.json is missing"),
        (lambda a: (a / "results.json").unlink(), (), 3, "the run is unfinished"),
        (lambda a: (a / "run.json").write_text("{}"), (), 3, "not a run of this version"),
        (lambda a: rewrite(a / "results.json", schema_version=1), (), 3, "version 1 of the format"),
        (lambda a: shutil.rmtree(a / "statistics"), (), 3, "no statistics here. score the run again"),
        (
            lambda a: (a / "statistics" / "correction.npz").write_bytes(b"PK\x03\x04 no"),
            (),
            3,
            "not a statistics file",
        ),
        (lambda a: None, ("--test", "t"), 2, "no test 't'"),
        (lambda a: None, ("--metrics", "blue4"), 2, "did you mean bleu4?"),
        (lambda a: None, ("-e", "view"), 2, "'view' is not in both runs"),
        (lambda a: None, ("--resamples", "-1"), 2, "--resamples"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    copies: tuple[Path, Path],
    prepare: Any,
    arguments: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare(copies[0])
    assert bench("compare", *copies, *QUICK, *arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_metric_that_counts_otherwise_now_is_not_compared(copies: tuple[Path, Path], tmp_path: Path) -> None:
    for run in copies:
        path = run / "results.json"
        path.write_text(path.read_text().replace("rouge_l|protocol:radialog|tok:nltk-word|lower|v1", "rouge_l|v0"))
    found = compare(*copies, tmp_path / "c.json", "--metrics", "rouge_l", "-e", "report_generation", code=5)
    row = found.evaluations["report_generation"].metrics["rouge_l"]
    assert row.unavailable == "this version does not know the metric"
