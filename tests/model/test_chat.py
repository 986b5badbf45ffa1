from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_instruct.terminal import run_app
from radialog_model.chat import ChatSession, Pieces
from radialog_model.checkpoint import Checkpoint, load_checkpoint
from radialog_model.cli import app
from radialog_model.decoding import Job, Row
from radialog_model.generate import Answerer, Question, Sampling, answer
from tests.instruct.sources.test_images import dicom

PATHS = sorted((demo_dir() / "images").glob("*.jpg"))[:2]
IMAGES = [load_image(path) for path in PATHS]
REPORT = default_prompts().render(CONSTANTS, "report")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint()


def test_a_dialog_is_answered_as_if_each_turn_were_computed_anew(checkpoint: Checkpoint) -> None:
    session = ChatSession(checkpoint, IMAGES[0], findings="edema", sampling=Sampling(60))
    said = [session.report(), session.ask("Is there any edema?"), session.ask("Explain this in simple words.")]
    assert said[0].endswith(".")
    assert session.turns[0] == Turn("user", REPORT)
    for place, text in enumerate(said):
        question = Question(session.turns[: 2 * place + 1], "report_generation", IMAGES[0], "edema")
        assert answer(checkpoint, [question], max_new_tokens=60)[0].text == text
    assert session.turns[1::2] == tuple(Turn("assistant", text) for text in said)


def test_a_further_turn_computes_its_own_tokens_only(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ChatSession(checkpoint, IMAGES[0], findings="edema", sampling=Sampling(20))
    session.report()
    seen = []
    forward = checkpoint.model.model.forward
    monkeypatch.setattr(
        checkpoint.model.model, "forward", lambda **k: seen.append(k.get("inputs_embeds")) or forward(**k)
    )
    session.ask("Is there any edema?")
    (prefilled,) = [embeds.shape[1] for embeds in seen if embeds is not None]
    assert prefilled < 30 < session.last.prompt_tokens


def test_the_pieces_of_a_stream_join_to_the_answer(checkpoint: Checkpoint) -> None:
    pieces = list(ChatSession(checkpoint, IMAGES[0], findings="edema").stream(REPORT))
    assert len(pieces) > 10
    assert "".join(pieces) == ChatSession(checkpoint, IMAGES[0], findings="edema").report()


def test_half_characters_and_half_stops_are_held_back(checkpoint: Checkpoint) -> None:
    answerer = Answerer(checkpoint)
    tokens = checkpoint.processor.tokenizer("Größe ∆ STOP end", add_special_tokens=False)["input_ids"]
    row = Row(Job((1,), None, None, 99, stops=("STOP",)))
    pieces, said = Pieces(answerer, row), []
    for token in tokens:
        row.new.append(token)
        said.append(pieces.more())
        assert "\N{REPLACEMENT CHARACTER}" not in said[-1]
        assert "S" not in "".join(said)
    row.done = "stop"
    assert "".join([*said, pieces.more()]) == "Größe ∆"


def test_who_stops_early_keeps_what_was_said(checkpoint: Checkpoint) -> None:
    session = ChatSession(checkpoint, IMAGES[0], findings="edema")
    stream = session.stream(REPORT)
    first = next(stream) + next(stream)
    stream.close()
    assert session.turns[1].content.startswith(first)
    assert len(session.turns[1].content) < len(first) + 30
    assert session.ask("Is there any edema?")
    assert len(session.turns) == 4


def test_findings_are_predicted_given_or_off(checkpoint: Checkpoint) -> None:
    session = ChatSession(checkpoint, IMAGES[0], sampling=Sampling(5))
    assert session.findings
    session.findings = "fracture"
    assert session.findings == "fracture"
    session.show(IMAGES[1], "second")
    assert session.findings != "fracture"  # it was said of the other image
    session.findings = None
    session.show(IMAGES[0])
    assert session.findings is None


def test_corrections_use_the_published_words(checkpoint: Checkpoint) -> None:
    session = ChatSession(checkpoint, IMAGES[0], sampling=Sampling(5))
    with pytest.raises(UsageError, match="no report to correct"):
        session.correct(add=["Edema"])
    session.report()
    with pytest.raises(UsageError, match="nothing to correct"):
        session.correct()
    for arguments, block, slots in (
        ({"add": ["Edema", "Fracture"]}, "correction_add", {"missing": "edema, fracture"}),
        ({"remove": ["Edema"]}, "correction_remove", {"wrong": "edema"}),
        ({"add": ["Edema"], "remove": ["Fracture"]}, "correction_both", {"missing": "edema", "wrong": "fracture"}),
    ):
        session.correct(**arguments)
        assert session.turns[-2].content == default_prompts().render(CONSTANTS, block, **slots)


def test_a_question_that_does_not_fit_leaves_the_dialog_as_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    session = ChatSession(checkpoint, IMAGES[0], findings="edema", sampling=Sampling(5), name="x.jpg")
    session.report()
    with pytest.raises(DataError, match="the model's context"):
        session.ask("word " * 3000)
    assert len(session.turns) == 2
    session.save(tmp_path / "dialog.json")
    saved = json.loads((tmp_path / "dialog.json").read_text())
    assert (saved["image"], saved["findings"], len(saved["messages"])) == ("x.jpg", "edema", 2)
    with pytest.raises(UsageError, match="cannot write"):
        session.save(tmp_path / "nowhere" / "dialog.json")


def chatted(lines: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return run_app(app, "radialog-model", ["chat", "--max-new-tokens", "6", *arguments])


def test_the_command_reads_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "d.json"
    lines = f"/report\nIs there any edema?\n\n/findings fracture\n/save {saved}\n/reset\n/help\n/quit\nnever said\n"
    assert chatted(lines, monkeypatch, "--image", str(PATHS[0])) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err.count("For research only") == 1
    assert "\033" not in err
    assert "Findings in the prompt: fracture" in err
    assert len(json.loads(saved.read_text())["messages"]) == 4
    assert "/save FILE" in err


def test_errors_of_a_turn_end_neither_the_session_nor_go_unnoticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    lines = f"What?\n/image\n/image {tmp_path}/text.jpg\n/image {tmp_path}/none.jpg\n/bogus\n/save\n"
    assert chatted(lines + f"/image {PATHS[0]}\nIs there any edema?\n", monkeypatch) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    for message in (
        "no image yet. /image PATH",
        "no path",
        "not an image",
        "no such image",
        "no command /bogus",
        "no file",
    ):
        assert message in err


def test_what_an_images_tags_say_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lateral = dicom(tmp_path / "a.dcm", ViewPosition="LL", BodyPartExamined="CHEST")
    leg = dicom(tmp_path / "b.dcm", BodyPartExamined="LEG")
    assert chatted(f"/image {leg}\n", monkeypatch, "--image", str(lateral)) == 0
    before, _, after = capsys.readouterr().err.partition("BodyPartExamined is LEG, not a chest")
    assert "lateral view (ViewPosition LL)\nIts report rests on this lateral view alone." in before
    assert "Findings in the prompt" in after
    assert "lateral" not in after


def test_ctrl_c_stops_the_answer_and_not_the_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from radialog_model.decoding import Decoder

    step, steps = Decoder.step, []

    def interrupted(self: Decoder) -> list[Row]:
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Decoder, "step", interrupted)
    assert chatted("/report\nIs there any edema?\n", monkeypatch, "--image", str(PATHS[0])) == 0
    out, err = capsys.readouterr()
    assert "stopped" in err
    assert len(out.splitlines()) == 2
