from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct import Layout, load_layout, score
from radialog_bench.metrics.rad_restruct.answers import SEVERAL, UNPARSED_BINARY, UNPARSED_CHOICE, encode, parse
from radialog_bench.metrics.rad_restruct.layout import FOLDER_VARIABLE, Question
from radialog_bench.metrics.rad_restruct.measures import vector_metrics
from radialog_bench.metrics.rad_restruct.reports import answers_of, joined, wordings
from radialog_bench.metrics.rad_restruct.score import AVERAGES, LEVELS, averages, level_scores, report_statistics
from radialog_bench.metrics.statistics import bootstrap_interval
from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from tests.bench.metrics.disturb import CASES

FILES = Path(__file__).parent / "cases" / "rad_restruct"
SMALL = json.loads((FILES / "small.json").read_text())
OFFICIAL = json.loads((FILES / "official_test_split.json").read_text())
FOLDER_FILES = {
    "template": "template_final_clean.json",
    "max_instances": "max_instances.json",
    "report_keys": "report_keys.json",
}


def write_layout(folder: Path, **changes: Any) -> Path:
    for name, file in FOLDER_FILES.items():
        (folder / file).write_text(json.dumps(changes.get(name, SMALL[name])))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Layout:
    return load_layout(write_layout(tmp_path))


def vectors(rows: list[list[int]]) -> Floats:
    filled = np.zeros((len(rows), len(SMALL["report_keys"])))
    for vector, row in zip(filled, rows, strict=True):
        vector[row] = 1
    return filled


@pytest.mark.parametrize("case", SMALL["cases"], ids=lambda case: case["description"])
def test_worked_cases(case: dict[str, Any], small: Layout) -> None:
    predictions, targets = vectors(case["predictions"]), vectors(case["targets"])
    if "error" in case:
        with pytest.raises(DataError, match=case["error"]):
            score(predictions, targets, small)
        return
    scores = score(predictions, targets, small)
    assert {name: scores[name] for name in case["expected"]} == pytest.approx(case["expected"], abs=1e-12)
    matched = case.get("matched", case["expected"])
    assert {name: scores.matched[name] for name in matched} == pytest.approx(matched, abs=1e-12)
    alone = score(predictions, targets, small, match_instances=True)
    assert (alone.official_f1, alone.match_instances) == (scores.matched.official_f1, True)


def test_levels_divide_the_vector_as_the_keys_say(small: Layout) -> None:
    of_level = {level: [q.key for q in small.questions if q.level == level] for level in (1, 2, 3)}
    assert of_level[1] == ["lung_signs"]
    assert of_level[2] == ["lung_signs_opacity_0", "lung_signs_opacity_1", "abdomen_infos_0"]
    assert len(of_level[3]) == 5
    targets = vectors([[0, 2, 4, 7, 10, 17], [1, 3, 10, 17]])
    scores = score(vectors([[0, 2, 7, 10, 17], [1, 3, 10, 17]]), targets, small)
    assert set(scores.levels) == {"level1", "level2", "level2_signs", "level2_body_regions", "level3"} <= set(LEVELS)
    assert (scores.levels["level1"].f1, scores.levels["level2"].f1, scores.levels["level3"].f1) == (1, 1, 0.5)


def test_the_layout_is_found_in_the_named_folder_or_below_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_answer, targets = vectors([[0, 2, 7, 10, 17]]), vectors([[0, 2, 6, 7, 10, 17]])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    bare = score(open_answer, targets)
    assert not bare.completed and bare.levels == {} and bare.matched is None and bare.report_accuracy == 0
    with pytest.raises(DataError, match="without the layout"):
        score(open_answer, targets, match_instances=True)
    (tmp_path / "data" / "radrestruct").mkdir(parents=True)
    folder = write_layout(tmp_path / "data" / "radrestruct")
    assert score(open_answer, targets).report_accuracy == 1
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert score(open_answer, targets).report_accuracy == 1
    assert score(open_answer, targets, str(folder)).completed


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (np.full((1, 19), np.nan), "nan is no answer"),
        (np.full((1, 19), 0.5), "0.5 is no answer"),
        (np.full((1, 19), -2), "an open question has no answer"),
        (np.zeros((1, 18)), "predictions for"),
        (np.zeros(19), "1 dimensions instead of 2"),
        ([["a"] * 19], "not a matrix of numbers"),
    ],
)
def test_what_is_no_answer_vector_is_refused(small: Layout, predictions: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(predictions, vectors([[1, 3, 10, 17]]), small)


def test_references_must_be_answered(small: Layout) -> None:
    with pytest.raises(DataError, match="targets"):
        score(vectors([[1, 3, 10, 17]]), np.full((1, 19), -2), small)
    with pytest.raises(DataError, match="layout has 19"):
        score(np.zeros((1, 5)), np.zeros((1, 5)), small)


def test_a_template_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="part at 9"):
        load_layout(write_layout(tmp_path, max_instances={}))


def test_a_folder_without_its_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        load_layout(tmp_path)


bits = st.integers(0, 1)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(2, 7))
def test_official_averages_equal_scikit_learns_report(data: st.DataObject, n: int, width: int) -> None:
    draw = st.lists(st.lists(bits, min_size=width, max_size=width), min_size=n, max_size=n)
    guesses, truths = np.array(data.draw(draw), dtype=float), np.array(data.draw(draw), dtype=float)
    truths[0, 0] = 1
    report = classification_report(truths, guesses, output_dict=True, zero_division=1)
    rows = [row for row in report.values() if row["support"] > 0]
    classes = [row for name, row in report.items() if name.isdigit() and row["support"] > 0]
    sums = report_statistics(guesses, truths).sum(0)
    names = {"f1": "f1-score", "precision": "precision", "recall": "recall"}
    means = dict(zip(AVERAGES, averages(sums), strict=True))
    for name, theirs in names.items():
        assert means[f"official_{name}"] == pytest.approx(np.mean([row[theirs] for row in rows]), abs=1e-12)
    scores = level_scores(guesses, truths)
    assert scores.f1 == pytest.approx(np.mean([row["f1-score"] for row in classes]), abs=1e-12)
    assert scores.report_accuracy == pytest.approx(accuracy_score(truths, guesses), abs=1e-12)
    assert scores.accuracy == pytest.approx(accuracy_score(truths.ravel(), guesses.ravel()), abs=1e-12)


def test_intervals_keep_the_classes_of_a_single_report() -> None:
    """Always no: F1 is 1 for the no, 0 for each rare yes; a resample without a rare yes would score better."""
    truths = np.zeros((40, 16))
    truths[np.arange(15), np.arange(15)] = 1
    truths[15:, 15] = 1
    guesses = np.zeros_like(truths)
    guesses[:, 15] = 1
    f1 = next(metric for metric in vector_metrics(matched=True) if metric.name == "f1")
    statistics, names = f1.statistics(list(guesses), list(truths)), [str(n) for n in range(40)]
    value = float(f1.value(statistics.sum(0)))
    low, high = bootstrap_interval(f1, statistics, names, resamples=400, seed=0)
    assert value == pytest.approx(2 * 25 / 65 / 16)
    assert low < value < high
    assert bootstrap_interval(replace(f1, smooth=False), statistics, names, resamples=400, seed=0)[0] > value


def test_metrics_over_vectors_are_the_scores(small: Layout) -> None:
    targets, predictions = (
        vectors([[0, 2, 4, 7, 10, 17], [1, 3, 10, 17]]),
        vectors([[0, 2, 6, 7, 10, 17], [1, 3, 10, 17]]),
    )
    scores = score(predictions, targets, small, match_instances=True)
    for metric in vector_metrics(matched=True):
        value = float(metric.value(metric.statistics(list(predictions), list(targets)).sum(0)))
        assert value == pytest.approx(scores[metric.name], abs=1e-12)
        assert "match_instances:on" in metric.signature


REGION = Question("k", "p", slice(0, 3), ("left", "right", "unspecified"), "multi_choice", 3, "signs")
TRACHEA = Question("k", "p", slice(0, 3), ("thorax", "trachea", "trachea, carina"), "single_choice", 3, "signs")
FIXED = Question("k", "p", slice(0, 1), ("right",), "fixed_choice", 3, "signs")
BINARY = Question("k", "p", slice(0, 2), ("yes", "no"), "single_choice", 2, "signs")


@pytest.mark.parametrize(
    ("text", "question", "options", "fault"),
    [
        ("yes", BINARY, ("yes",), None),
        ("Yes.", BINARY, ("yes",), None),
        ("Yes, there is one.", BINARY, ("yes",), None),
        ("no, yes", BINARY, ("no",), SEVERAL),
        ("There is none", BINARY, ("no",), UNPARSED_BINARY),
        ("yesterday", BINARY, ("no",), UNPARSED_BINARY),
        ("", BINARY, ("no",), UNPARSED_BINARY),
        ("right, left, right", REGION, ("right", "left"), None),
        ("LEFT ,  unspecified", REGION, ("left",), None),
        ("yes, Yes", BINARY, ("yes",), None),
        ("unspecified", REGION, ("unspecified",), None),
        ("both sides", REGION, ("unspecified",), UNPARSED_CHOICE),
        ("on the left side", REGION, ("unspecified",), UNPARSED_CHOICE),
        ("trachea, carina", TRACHEA, ("trachea, carina",), None),
        ("trachea", TRACHEA, ("trachea",), None),
        ("trachea, carina, thorax", TRACHEA, ("trachea, carina",), SEVERAL),
        ("nowhere", TRACHEA, (), UNPARSED_CHOICE),
        ("right", FIXED, ("right",), None),
        ("left", FIXED, (), UNPARSED_CHOICE),
    ],
)
def test_answers_are_read(text: str, question: Question, options: tuple[str, ...], fault: str | None) -> None:
    parsed = parse(text, question)
    assert (parsed.options, parsed.fault) == (options, fault)


def test_the_demo_reports_give_their_vectors_and_wordings() -> None:
    folder = demo_dir() / "rad_restruct"
    layout, annotation = load_layout(folder), RadReStruct(folder)
    reports = {study_id: joined(layout, annotation.structured(study_id).questions) for study_id in annotation.study_ids}
    for study_id, pairs in reports.items():
        split = {"train": "train", "validation": "val", "test": "test"}[annotation.split_of(study_id).value]
        file = folder / f"{split}_vectorized_answers" / f"{study_id.removeprefix('CXR')}.json"
        assert encode(layout, answers_of(pairs)).tolist() == list(json.loads(file.read_text()).values())
    worded = wordings(layout, iter(reports.values()))
    assert worded["lung_signs_opacity_1"] == "Is there another case of opacity in the lung?"
    assert len(worded) == len(layout.questions) == 27


def test_a_report_that_does_not_fit_the_template_is_refused(small: Layout) -> None:
    folder = demo_dir() / "rad_restruct"
    questions = RadReStruct(folder).structured("CXR1").questions
    with pytest.raises(DataError, match="the template asks"):
        joined(small, questions)
    with pytest.raises(DataError, match="along its answers"):
        joined(load_layout(folder), (*questions, questions[-1]))


@pytest.mark.shared_data
def test_official_scores_of_the_test_split(rad_restruct: Path) -> None:
    """The numbers are what the authors' evaluator gave: benchmarks/rad_restruct_official.py."""
    layout, annotation = load_layout(rad_restruct), RadReStruct(rad_restruct)
    assert (layout.size, len(layout.questions)) == (2_470, 718)
    test = [name for name in annotation.study_ids if annotation.split_of(name) == "test"]
    rows = []
    for study_id in sorted(test, key=lambda name: f"{name.removeprefix('CXR')}.json"):
        structured = annotation.structured(study_id)
        vector = encode(layout, answers_of(joined(layout, structured.questions)))
        rows += [vector] * len(structured.image_ids)
    targets = np.array(rows)
    assert (len(test), targets.shape) == (360, (374, 2_470))
    assert set(OFFICIAL) == set(CASES)
    for name, expected in OFFICIAL.items():
        scores = score(CASES[name](targets, layout), targets, layout)
        assert {key: scores[key] for key in expected} == pytest.approx(expected, abs=1e-9), name
    assert score(CASES["instances in the opposite order"](targets, layout), targets, layout).matched.official_f1 == 1
