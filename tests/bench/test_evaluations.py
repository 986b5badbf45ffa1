from __future__ import annotations

from pathlib import Path

import pytest

from radialog_bench.evaluations import EvalSample, LeftOut, ReportGeneration, ViewClassification
from radialog_bench.evaluations.base import ScoringSettings
from radialog_bench.evaluations.view_classification import parse_released, parse_whole_word
from radialog_bench.labelers import open_labeler
from radialog_instruct.errors import UsageError
from radialog_instruct.records import Image, Sections, Split, Study, Terms, View


def study(name: str, *views: View | None, findings: str | None = "The lungs are clear.") -> Study:
    images = tuple(Image(f"{name}{i}", f"{name}{i}.png", view, Path("x")) for i, view in enumerate(views))
    return Study("t", name, f"p{name}", Split.TEST, Terms.OPEN, images, Sections(findings=findings))


@pytest.mark.parametrize(
    ("answer", "whole_word", "released"),
    [
        ("AP", "ap", "ap"),
        ("This is an AP view", "ap", "ap"),
        ("The view is AP.", "ap", "unknown"),
        ("PA projection", "pa", "pa"),
        ("a Lateral image", "lateral", "lateral"),
        ("LL", "ll", "ll"),
        ("The patient is small", "unknown", "unknown"),
        ("grape", "unknown", "unknown"),
        ("", "unknown", "unknown"),
    ],
)
def test_view_answers_are_read_by_the_named_rule(answer: str, whole_word: str, released: str) -> None:
    assert parse_whole_word(answer) == whole_word
    assert parse_released(answer) == released


def test_report_samples_are_frontal_images_of_studies_with_findings() -> None:
    items = list(
        ReportGeneration().samples(
            [
                study("a", View.PA, View.LATERAL),
                study("b", View.AP, findings=None),
                study("c", View.LATERAL),
                study("d", View.FRONTAL, View.AP),
            ]
        )
    )
    assert [i.id for i in items if isinstance(i, EvalSample)] == [
        "report_generation/a/a0",
        "report_generation/d/d0",
        "report_generation/d/d1",
    ]
    assert [i.reason for i in items if isinstance(i, LeftOut)] == [
        "study without a findings section",
        "study without a frontal image",
    ]


def test_views_outside_the_four_are_left_out_and_counted() -> None:
    items = list(ViewClassification().samples([study("a", View.FRONTAL, View.LL, None, View.LATERAL)]))
    assert [i.reference for i in items if isinstance(i, EvalSample)] == ["LL", "lateral"]
    assert [i.reason for i in items if isinstance(i, LeftOut)] == ["image with view FRONTAL", "image with view unknown"]


def test_the_view_is_not_given_away_with_the_image() -> None:
    (sample,) = ViewClassification().samples([study("a", View.AP)])
    assert isinstance(sample, EvalSample)
    request = ViewClassification().request(sample)
    assert request.images[0].view is None
    assert request.messages[0].content == "From what view was this image taken?"


def test_a_failed_sample_counts_as_the_worst_answer_and_not_as_unparsed() -> None:
    evaluation = ViewClassification()
    samples = list(evaluation.samples([study("a", View.AP, View.PA, View.PA, View.PA)]))
    settings = ScoringSettings(open_labeler("rules"), 0, 0, 1)
    scores = evaluation.score(samples, ["AP", "PA", "who knows", ""], settings)  # type: ignore[arg-type]
    assert scores.metrics["accuracy"].value == 0.5
    assert scores.counts == {"answer names no view": 1}
    assert scores.metrics["accuracy"].n_error == 1


def test_ce_without_a_labeler_is_null_with_its_reason_while_bleu_is_scored() -> None:
    evaluation = ReportGeneration()
    samples = list(evaluation.samples([study("a", View.AP)]))
    settings = ScoringSettings(open_labeler("chexbert"), 0, 0, 0)
    scores = evaluation.score(samples, ["The lungs are clear."], settings)  # type: ignore[arg-type]
    assert scores.metrics["ce_macro_f1"].value is None
    assert "chexbert labeler is not available" in (scores.metrics["ce_macro_f1"].unavailable or "")
    assert scores.metrics["bleu1"].value == pytest.approx(1, abs=1e-8)


def test_unknown_parsers_and_labelers_are_refused() -> None:
    with pytest.raises(UsageError, match="choose from: whole-word, released"):
        ViewClassification("loose")
    with pytest.raises(UsageError, match="choose from: chexbert, rules"):
        open_labeler("gpt")
