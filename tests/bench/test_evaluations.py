from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from radialog_bench.chat import Failure, Message, Request, Response
from radialog_bench.dialog import All, AskFailed, Dialog, Effect, Label
from radialog_bench.evaluations import (
    Conversation,
    Correction,
    EvalSample,
    Evaluation,
    FindingsQA,
    Impression,
    LeftOut,
    Options,
    ReportGeneration,
    ViewClassification,
)
from radialog_bench.evaluations.findings_qa import listed_labels
from radialog_bench.evaluations.view_classification import parse_released, parse_whole_word
from radialog_bench.labelers import open_labeler
from radialog_bench.sheet import ScoringSettings, Sheet
from radialog_instruct.errors import UsageError
from radialog_instruct.findings import FINDINGS, positives
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
    assert not hasattr(request.images[0], "view")
    assert request.messages[0].content == "From what view was this image taken?"


def scored(evaluation: Evaluation, samples: list, conversations: list[Conversation], labeler: str = "rules") -> Sheet:
    settings = ScoringSettings(open_labeler(labeler), n_error=sum(not c.turns for c in conversations))
    sheet = Sheet([sample.study.subject_id for sample in samples], settings)
    evaluation.score(samples, conversations, sheet)
    return sheet


def said(*answers: str) -> list[Conversation]:
    return [Conversation(answer, (Message("assistant", answer),) if answer else ()) for answer in answers]


def test_a_failed_sample_counts_as_the_worst_answer_and_not_as_unparsed() -> None:
    evaluation = ViewClassification()
    samples = list(evaluation.samples([study("a", View.AP, View.PA, View.PA, View.PA)]))
    sheet = scored(evaluation, samples, said("AP", "PA", "who knows", ""))
    assert sheet.metrics["accuracy"].value == 0.5
    assert sheet.counts == {"answer names no view": 1}
    assert sheet.metrics["accuracy"].n_error == 1


def test_ce_without_a_labeler_is_null_with_its_reason_while_bleu_is_scored() -> None:
    evaluation = ReportGeneration()
    samples = list(evaluation.samples([study("a", View.AP)]))
    sheet = scored(evaluation, samples, said("The lungs are clear."), "chexbert")
    assert sheet.metrics["ce_macro_f1"].value is None
    assert "chexbert labeler is not available" in (sheet.metrics["ce_macro_f1"].unavailable or "")
    assert sheet.metrics["bleu1"].value == pytest.approx(1, abs=1e-8)


def hold(dialog: Dialog[Conversation], answer: Callable[[Request], str | Failure]) -> Conversation:
    """Hold a dialog with a model that answers by a function."""

    def settle(effect: Effect) -> object:
        if isinstance(effect, Label):
            return open_labeler("rules").label_many([effect.text])[0]  # type: ignore[misc]
        if isinstance(effect, All):
            return [settle(part) for part in effect.branches]  # type: ignore[arg-type]
        given = answer(effect.request)
        return AskFailed(effect.request, given) if isinstance(given, Failure) else Response(effect.request.id, given)

    try:
        result = settle(next(dialog))
        while True:
            result = settle(dialog.throw(result) if isinstance(result, AskFailed) else dialog.send(result))
    except StopIteration as end:
        return end.value


ENLARGED = "The heart is enlarged. There is a small left pleural effusion."


def test_a_correction_names_what_is_missing_and_what_is_wrong_and_a_right_report_is_kept() -> None:
    evaluation = Correction()
    (sample,) = evaluation.samples([study("a", View.PA, findings=ENLARGED)])
    asked: list[Request] = []

    def model(request: Request) -> str:
        asked.append(request)
        return "There is a large pneumothorax. The heart is enlarged." if request.turn == "report" else ENLARGED

    conversation = hold(evaluation.dialog(sample), model)  # type: ignore[arg-type]
    assert [request.id for request in asked] == ["report_generation/a/a0", "correction/a/a0#correct"]
    assert asked[1].messages[1].content == conversation.parts["draft"]
    assert asked[1].messages[2].content == (
        "Please adapt the report with the following corrections: Include pleural effusion and remove pneumothorax. "
        "Don't make other changes."
    )
    sheet = scored(evaluation, [sample], [conversation])
    # Two classes of fourteen: 2/14 after, and before one of them with F1 1.
    assert sheet.metrics["corrected_ce_macro_f1"].value == pytest.approx(2 / 14)
    assert sheet.metrics["delta_ce_macro_f1"].value == pytest.approx(1 / 14)
    assert not sheet.counts
    kept = hold(evaluation.dialog(sample), lambda request: ENLARGED)  # type: ignore[arg-type]
    assert len(kept.turns) == 2
    assert scored(evaluation, [sample], [kept]).counts == {"draft without an error, kept as it is": 1}


def test_a_failed_correction_keeps_the_draft_and_counts_the_correction_as_empty() -> None:
    evaluation = Correction()
    (sample,) = evaluation.samples([study("a", View.PA, findings=ENLARGED)])
    failure = Failure("adapter", "out of memory")
    answers = {"report": "The heart is enlarged.", "correction": failure}
    conversation = hold(evaluation.dialog(sample), lambda request: answers[request.turn])  # type: ignore[arg-type, return-value]
    assert conversation.failures == (failure,)
    sheet = scored(evaluation, [sample], [conversation])
    assert sheet.metrics["initial_ce_macro_f1"].value == pytest.approx(1 / 14)
    assert sheet.metrics["corrected_ce_macro_f1"].value == 0


@pytest.mark.parametrize(
    ("answer", "parser", "names"),
    [
        ("Cardiomegaly, pleural effusion", "lower-cased", {"Cardiomegaly", "Pleural Effusion"}),
        ("Cardiomegaly, pleural effusion", "released-v2", {"Pleural Effusion"}),
        ("no common findings", "lower-cased", set()),
        ("No finding.", "lower-cased", {"No Finding"}),
        ("", "lower-cased", set()),
    ],
)
def test_lists_of_findings_are_read_by_the_named_rule(answer: str, parser: str, names: set[str]) -> None:
    assert set(positives(listed_labels(answer, parser))) == names


def test_findings_qa_asks_thirteen_classes_and_the_list_about_the_own_report() -> None:
    evaluation = FindingsQA()
    (sample,) = evaluation.samples([study("a", View.PA, findings=ENLARGED)])
    asked: list[Request] = []

    def model(request: Request) -> str | Failure:
        asked.append(request)
        if request.turn == "report":
            return "The heart is enlarged."
        if request.turn == "complete":
            return "Cardiomegaly"
        name = request.id.partition("#")[2]
        if name == "Edema":
            return Failure("timeout", "60 s")
        return "Yes, there is." if name == "Cardiomegaly" else "Perhaps." if name == "Fracture" else "No."

    conversation = hold(evaluation.dialog(sample), model)  # type: ignore[arg-type]
    assert len(asked) == 15
    assert all(len(request.messages) == 3 for request in asked[1:])
    assert {"Is there any edema?", "List all the findings in this report."} <= {r.messages[-1].content for r in asked}
    assert conversation.parts["Edema"] is None
    sheet = scored(evaluation, [sample], [conversation])
    # Cardiomegaly is found in both modes, the effusion in neither.
    assert sheet.metrics["binary_macro_f1"].value == pytest.approx(1 / 14)
    assert sheet.metrics["complete_macro_recall"].value == pytest.approx(1 / 14)
    assert sheet.counts == {"binary answer with neither yes nor no, read as no": 1}


def test_no_finding_follows_from_thirteen_times_no() -> None:
    evaluation = FindingsQA()
    (sample,) = evaluation.samples([study("a", View.PA)])
    conversation = hold(evaluation.dialog(sample), lambda request: "no")  # type: ignore[arg-type]
    assert scored(evaluation, [sample], [conversation]).parsed == ["no finding"]
    failed = scored(evaluation, [sample], [Conversation("")])
    assert failed.parsed == ["no common findings"]


def test_a_failed_question_is_no_no() -> None:
    # Nobody has said that there is nothing: a model that fails all questions must not be credited with No Finding.
    evaluation = FindingsQA()
    (sample,) = evaluation.samples([study("a", View.PA, findings="The lungs are clear. No acute abnormality.")])
    lost = Failure("adapter", "out of memory")
    conversation = hold(evaluation.dialog(sample), lambda r: "Clear." if r.turn == "report" else lost)  # type: ignore[arg-type]
    sheet = scored(evaluation, [sample], [conversation])
    assert sheet.parsed == ["no common findings"]
    assert sheet.metrics["binary_macro_f1"].value == 0


def test_failed_corrections_change_nothing_and_are_no_errors_of_the_first_report() -> None:
    evaluation = Correction()
    (sample,) = evaluation.samples([study("a", View.PA, findings="The lungs are clear.")])
    answers = {"report": "There is a large pneumothorax.", "correction": Failure("timeout", "60 s")}
    conversation = hold(evaluation.dialog(sample), lambda request: answers[request.turn])  # type: ignore[arg-type, return-value]
    sheet = Sheet(["p"], ScoringSettings(open_labeler("rules"), n_error=1))
    evaluation.score([sample], [conversation], sheet)  # type: ignore[list-item]
    change = sheet.metrics["delta_ce_macro_f1"]
    assert (change.value, change.ceiling, change.n_error) == (0, None, 1)
    assert sheet.metrics["initial_bleu1"].n_error == 0
    assert sheet.metrics["corrected_bleu1"].n_error == 1
    every = scored(evaluation, [sample], [Conversation("")])
    assert not every.counts


def test_the_oracle_knows_what_the_reference_would_say_to_each_question() -> None:
    evaluation = FindingsQA()
    (sample,) = evaluation.samples([study("a", View.PA, findings=ENLARGED)])
    assert isinstance(sample, EvalSample)
    label_many = open_labeler("rules").label_many
    conversation = hold(evaluation.dialog(sample), lambda r: evaluation.reference_answer(sample, r, label_many))
    assert conversation.parts["complete"] == "cardiomegaly, pleural effusion"
    assert [name for name in FINDINGS if conversation.parts.get(name) == "yes"] == ["Cardiomegaly", "Pleural Effusion"]


def test_an_impression_is_asked_about_the_reference_findings() -> None:
    both = replace(study("a", View.PA), sections=Sections(findings="The heart is enlarged.", impression="Large heart."))
    items = list(Impression().samples([both, study("b", View.PA)]))
    assert [i.reason for i in items if isinstance(i, LeftOut)] == ["image of a study without an impression section"]
    assert isinstance(items[0], EvalSample)
    request = Impression().request(items[0])
    assert [message.content for message in request.messages[1:]] == [
        "The heart is enlarged.",
        "Write the impression section corresponding to this radiology report.",
    ]


def test_switches_give_the_indication_and_take_the_image_and_tokens_away() -> None:
    known = replace(study("a", View.PA), sections=Sections(findings="Clear.", indication="Cough"))
    options = Options(indication=True, image=False, tokens="v1")
    (sample,) = FindingsQA(options).samples([known])
    assert isinstance(sample, EvalSample)
    request = FindingsQA(options).request(sample)
    assert request.messages[0].content.startswith("Indication: Cough You are to act as a radiologist")
    assert request.images == ()
    assert request.generation.max_new_tokens == 300
    assert request.indication == "Cough"
    assert FindingsQA().request(sample).indication is None
    tokens: dict[str, int] = {}

    def model(asked: Request) -> str:
        tokens[asked.turn] = asked.generation.max_new_tokens
        return "no"

    hold(FindingsQA(options).dialog(sample), model)
    assert tokens == {"report": 300, "binary": 10, "complete": 30}


def test_unknown_parsers_and_labelers_are_refused() -> None:
    with pytest.raises(UsageError, match="choose from: whole-word, released"):
        ViewClassification(Options(view_parser="loose"))
    with pytest.raises(UsageError, match="choose from: lower-cased, released-v2"):
        FindingsQA(Options(findings_parser="loose"))
    with pytest.raises(UsageError, match="choose from: chexbert, rules"):
        open_labeler("gpt")
