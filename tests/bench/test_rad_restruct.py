from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from radialog_bench import Adapter, AskFailed, Request, Response
from radialog_bench.cli import app
from radialog_bench.dialog import Dialog
from radialog_bench.evaluations import Conversation, EvalSample, LeftOut
from radialog_bench.evaluations.rad_restruct import RadReStruct
from radialog_bench.labelers import open_labeler
from radialog_bench.metrics.rad_restruct.reports import layout_of
from radialog_bench.responses import ResponseLog
from radialog_bench.runner import Runner
from radialog_bench.sheet import ScoringSettings, Sheet
from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from radialog_instruct.labeling import rules
from radialog_instruct.records import Split, StructuredReport, Study
from radialog_instruct.sources import open_source
from radialog_instruct.sources.rad_restruct import RadReStructReader
from radialog_instruct.terminal import run_app

DEMO = demo_dir() / "rad_restruct"
Answer = Callable[[Request], str | None]


class Says(Adapter):
    """Answers by a function, and remembers what it was asked."""

    name = "says"

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, list[Request]()

    def generate(self, requests: list[Request]) -> Iterator[Response]:
        for request in requests:
            self.asked.append(request)
            text = self.answer(request)
            yield Response.failure(request.id, "timeout", "slow") if text is None else Response(request.id, text)


def hold(dialog: Dialog[Conversation], answer: Answer, folder: Path) -> tuple[Conversation, list[Request]]:
    adapter = Says(answer)
    with ResponseLog(folder / "log") as log:
        ((_, outcome),) = Runner(adapter, "f", log, rules.label_many).run([dialog])
    return outcome, adapter.asked


def scored(evaluation: RadReStruct, samples: list[EvalSample], conversations: list[Conversation]) -> Sheet:
    sheet = Sheet([sample.study.subject_id for sample in samples], ScoringSettings(open_labeler("rules")))
    evaluation.score(samples, conversations, sheet)
    return sheet


@pytest.fixture(scope="module")
def samples() -> list[EvalSample]:
    studies = [study for study in open_source("demo").studies() if study.split is Split.TEST]
    found = list(RadReStruct().samples(studies))
    assert len(found) == 24
    return found


def richest(samples: list[EvalSample]) -> EvalSample:
    return max(samples, key=lambda sample: len(sample.study.structured.questions))


def as_dataset(request: Request) -> tuple[list[tuple[str, str]], str]:
    turns = [turn.content for turn in request.messages]
    return list(zip(turns[:-1:2], turns[1::2], strict=True)), turns[-1]


def test_the_reference_is_asked_its_own_questions_with_their_history_and_options(
    samples: list[EvalSample], tmp_path: Path
) -> None:
    evaluation = RadReStruct()
    for place, sample in enumerate(samples):
        said = lambda request, sample=sample: evaluation.reference_answer(sample, request, None)  # noqa: E731
        outcome, asked = hold(evaluation.dialog(sample), said, tmp_path / str(place))
        questions = sample.study.structured.questions
        expected = {
            (
                tuple((question, ", ".join(answers)) for question, answers in q.history),
                (
                    "From the given list, name all correct options"
                    if q.answer_type == "multi_choice"
                    else "Answer with one of the following options"
                )
                + f": {', '.join(q.options)}. Question: {q.question}",
            )
            for q in questions
        }
        assert {(tuple(history), text) for history, text in map(as_dataset, asked)} == expected
        assert len(asked) == len(questions)
        assert [turn.content for turn in outcome.turns[1::2]] == [", ".join(q.answers) for q in questions]
        assert outcome.answer == sample.reference


def test_the_reference_scores_one_everywhere(samples: list[EvalSample], tmp_path: Path) -> None:
    evaluation, conversations = RadReStruct(), []
    for place, sample in enumerate(samples):
        said = lambda request, sample=sample: evaluation.reference_answer(sample, request, None)  # noqa: E731
        conversations.append(hold(evaluation.dialog(sample), said, tmp_path / str(place))[0])
    sheet = scored(evaluation, samples, conversations)
    assert {name: result.value for name, result in sheet.metrics.items()} == dict.fromkeys(sheet.metrics, 1)
    assert {result.ceiling for result in sheet.metrics.values()} == {1}
    assert sheet.counts == {}
    assert sheet.parsed == sheet.reference_parsed
    assert [row[0] for row in sheet.tables["levels"].rows][:2] == ["level 1", "level 2"]
    assert {value for row in sheet.tables["levels_unmatched"].rows for value in row[1:]} == {1}


def test_a_no_closes_what_lies_below(samples: list[EvalSample], tmp_path: Path) -> None:
    evaluation, sample = RadReStruct(), richest(samples)
    outcome, asked = hold(evaluation.dialog(sample), lambda _: "No.", tmp_path)
    layout = layout_of(sample.study.structured)
    assert [request.id for request in asked] == [f"{sample.id}#{topic.question.key}" for topic in layout.topics]
    assert all(len(request.messages) == 1 and request.turn == "level1" for request in asked)
    assert outcome.answer == "no finding"
    sheet = scored(evaluation, [sample], [outcome])
    assert sheet.metrics["recall"].value < 1 == sheet.metrics["precision"].value
    assert sheet.counts == {}


def test_yes_asks_everything_up_to_the_most_instances(samples: list[EvalSample], tmp_path: Path) -> None:
    evaluation, sample = RadReStruct(), samples[0]
    outcome, asked = hold(evaluation.dialog(sample), lambda _: "yes", tmp_path)
    layout = layout_of(sample.study.structured)
    assert {request.id.partition("#")[2] for request in asked} == {question.key for question in layout.questions}
    again = next(request for request in asked if request.id.endswith("#lung_signs_opacity_1"))
    assert [text for _, text in as_dataset(again)[0]] == ["yes", "yes", "unspecified", "no selection"]
    sheet = scored(evaluation, [sample], [outcome])
    choices = sum(not question.is_binary for question in layout.questions)
    assert sheet.counts == {"answer names none of the options": choices}


def test_a_failed_question_is_a_no_and_an_error(samples: list[EvalSample], tmp_path: Path) -> None:
    evaluation, sample = RadReStruct(), richest(samples)
    gone = next(q.path for q in sample.study.structured.questions if q.history and q.answers == ("yes",))

    def said(request: Request) -> str | None:
        lost = request.id.endswith(f"#{gone}_0")
        return None if lost else evaluation.reference_answer(sample, request, None)

    outcome, _ = hold(evaluation.dialog(sample), said, tmp_path)
    assert [failure.kind for failure in outcome.failures] == ["timeout"]
    assert outcome.parts[f"{gone}_0"] is None
    assert not any(key.startswith(f"{gone}_") and key != f"{gone}_0" for key in outcome.parts)
    sheet = scored(evaluation, [sample], [outcome])
    assert sheet.metrics["report_accuracy"].value == 0
    assert 0.5 < sheet.metrics["recall"].value < 1


def test_a_sample_without_any_answer_has_failed(samples: list[EvalSample], tmp_path: Path) -> None:
    outcome, asked = hold(RadReStruct().dialog(samples[0]), lambda _: None, tmp_path)
    assert isinstance(outcome, AskFailed)
    assert len(asked) == len(layout_of(samples[0].study.structured).topics)
    sheet = scored(RadReStruct(), samples[:1], [Conversation("")])
    assert sheet.metrics["accuracy"].value < 1


def test_every_metric_is_known_without_samples() -> None:
    sheet = scored(RadReStruct(), [], [])
    assert "official_f1" in sheet.kinds and "official_f1_unmatched" in sheet.kinds
    assert {result.unavailable for result in sheet.metrics.values()} == {"no sample to score"}


def test_studies_are_evaluated_in_rad_restructs_own_split() -> None:
    study = next(open_source("demo").studies())
    moved = replace(study, official={"rad-restruct": Split.TEST, "iu-xray": Split.TRAIN}, split=Split.TRAIN)
    assert (RadReStruct().split_of(study), RadReStruct().split_of(moved)) == (study.split, Split.TEST)


def test_what_gives_no_sample_is_counted_and_an_unknown_template_is_an_error() -> None:
    study = next(open_source("demo").studies())
    items = RadReStruct().samples([replace(study, structured=None), replace(study, images=())])
    reasons = ["study without a structured report", "structured report without a frontal image"]
    assert [item.reason for item in items if isinstance(item, LeftOut)] == reasons
    bare = StructuredReport(study.structured.questions, study.structured.image_ids)
    with pytest.raises(DataError, match="template is not known"):
        list(RadReStruct().samples([replace(study, structured=bare)]))


def test_a_question_that_no_report_asks_is_worded_by_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "rr"
    shutil.copytree(DEMO, folder)
    for file in folder.glob("*_qa_pairs/*.json"):
        kept = [entry for entry in json.loads(file.read_text()) if not entry[2] and entry[1] == ["no"]]
        whole = json.loads(file.read_text())
        if len(kept) < len(whole):
            file.write_text(json.dumps([[*e[:1], ["no"], *e[2:]] for e in whole if not e[2]]))
    (sample, *_) = RadReStruct().samples(RadReStructReader(folder).studies())
    _, asked = hold(RadReStruct().dialog(sample), lambda _: "yes", tmp_path)
    (opacity,) = [r for r in asked if r.id.endswith("#lung_signs_opacity_0")]
    assert opacity.messages[-1].content.endswith("Question: lung, signs, opacity?")


def bench(*arguments: str) -> int:
    return run_app(app, "radialog-bench", list(arguments))


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())["evaluations"]["rad_restruct"]


def test_rad_restruct_is_a_source_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("run", "-e", "rad_restruct", "--data", "rad-restruct", "--bootstrap", "20")
    assert bench(*common, "-m", "oracle", "--root", str(DEMO), "-o", str(tmp_path / "o")) == 0
    assert results(tmp_path / "o")["metrics"]["official_f1"]["value"] == 1
    assert bench(*common, "-m", "constant", "--root", str(DEMO), "-o", str(tmp_path / "c")) == 0
    found = results(tmp_path / "c")
    low, high = found["metrics"]["official_f1"]["ci95"]
    assert low <= found["metrics"]["official_f1"]["value"] <= high < 1
    assert found["n"] == 24
    capsys.readouterr()
    assert bench(*common, "-m", "oracle", "-o", str(tmp_path / "x")) == 2
    assert "--root" in capsys.readouterr().err
    assert bench(*common, "-m", "oracle", "--root", str(tmp_path), "-o", str(tmp_path / "x")) == 3
    assert bench("run", "-m", "oracle", "--data", "rad_restruct", "--root", str(DEMO)) == 2
    assert "--data: no data 'rad_restruct'. did you mean rad-restruct?" in capsys.readouterr().err
    assert (
        bench(*common, "-m", "oracle", "--root", str(DEMO), "--rad-restruct", str(DEMO), "-o", str(tmp_path / "x")) == 2
    )


def test_images_lie_beside_the_annotation(tmp_path: Path) -> None:
    folder = tmp_path / "rr"
    shutil.copytree(DEMO, folder)
    (folder / "images").mkdir()
    shutil.copy(demo_dir() / "images" / "nih-00000468_015.jpg", folder / "images" / "nih-00000468_015.png")
    options = ("--data", "rad-restruct", "--root", str(folder), "-e", "rad_restruct", "--bootstrap", "0")
    assert bench("run", "-m", "constant", *options, "--limit-to-images", "-o", str(tmp_path / "c")) == 0
    found = results(tmp_path / "c")
    assert (found["n"], found["counts"]) == (1, {"image file missing": 23})


def test_retrieval_answers_with_the_neighbours_report(tmp_path: Path) -> None:
    options = ("-e", "rad_restruct", "--bootstrap", "0", "--limit", "6")
    assert bench("run", "-m", "retrieval", *options, "-o", str(tmp_path / "r")) == 0
    texts = {
        json.loads(line)["text"] for line in (tmp_path / "r/responses/rad_restruct.jsonl").read_text().splitlines()
    }
    assert texts <= {"yes", "no", "thorax", "mild", "severe", "focal", "diffuse", "no selection", "unspecified",
                     "left lung", "right lung", "left lung, right lung"}  # fmt: skip
    assert "yes" in texts


@pytest.mark.shared_data
def test_the_official_test_split_is_asked_as_the_dataset_asks(rad_restruct: Path, tmp_path: Path) -> None:
    studies: list[Study] = [s for s in RadReStructReader(rad_restruct).studies() if s.split is Split.TEST]
    evaluation = RadReStruct()
    samples = [item for item in evaluation.samples(studies) if isinstance(item, EvalSample)]
    assert (len(studies), len(samples)) == (360, 374)
    longest = sorted(samples, key=lambda sample: -len(sample.study.structured.questions))[:12]
    for place, sample in enumerate(longest):
        said = lambda request, sample=sample: evaluation.reference_answer(sample, request, None)  # noqa: E731
        outcome, asked = hold(evaluation.dialog(sample), said, tmp_path / str(place))
        histories = {
            (tuple((question, ", ".join(answers)) for question, answers in q.history), q.question)
            for q in sample.study.structured.questions
        }
        found = {(tuple(history), text.partition("Question: ")[2]) for history, text in map(as_dataset, asked)}
        assert found == histories
        assert outcome.answer == sample.reference
