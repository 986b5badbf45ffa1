from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from radialog_bench.chat import Generation, ImageRef, Message, Request
from radialog_bench.responses import ResponseLog
from radialog_bench.testing import check_adapter
from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.sources.images import load_image
from radialog_model.adapter import RaDialogAlign, RaDialogProject
from radialog_model.checkpoint import Checkpoint
from radialog_model.generate import predict_findings

IMAGES = sorted((demo_dir() / "images").glob("*.jpg"))[:3]


def request(name: str, image: Path | None, text: str = "Write the report.", tokens: int = 6) -> Request:
    images = (ImageRef(image.stem, image),) if image else ()
    return Request(name, "report_generation", "report", (Message("user", text),), images, Generation(tokens))


@pytest.mark.slow
def test_the_adapter_keeps_the_contract() -> None:
    report = check_adapter(RaDialogProject())
    assert report.passed, report
    assert [check.name for check in report.checks if check.status != "passed"] == []


def test_the_findings_text_of_each_request_is_logged(weights: Path, tmp_path: Path) -> None:
    adapter = RaDialogProject(str(weights))
    asked = [request(f"e/{n}/{n}", image) for n, image in enumerate(IMAGES)]
    expected = predict_findings(adapter._checkpoint, [load_image(image) for image in IMAGES])
    responses = {response.id: response for response in adapter.generate(asked)}
    assert [responses[r.id].notes["findings"] for r in asked] == expected
    with ResponseLog(tmp_path / "log.jsonl") as log:
        log.add("00" * 32, asked[0], adapter.render(asked[0]), responses[asked[0].id])
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert record["notes"] == {"findings": expected[0]}
    assert (
        "notes" not in {r.id: r for r in RaDialogProject(str(weights), findings="off").generate(asked)}["e/0/0"].notes
    )


def test_without_an_image_there_is_neither_placeholder_nor_prediction(weights: Path) -> None:
    adapter = RaDialogProject(str(weights))
    bare = request("e/0/0", None)
    assert adapter.render(bare)[1].content == "Write the report."
    (response,) = adapter.generate([bare])
    assert response.error is None
    assert response.notes == {}
    mixed = {r.id: r for r in adapter.generate([request("e/1/1", IMAGES[0]), bare])}
    assert mixed["e/0/0"].text == response.text


def test_an_image_asked_about_often_is_encoded_once(weights: Path) -> None:
    adapter = RaDialogProject(str(weights), findings="off", batch_size=2)
    asked = [request(f"e/0/0#{n}", IMAGES[0], f"Is there any finding {n}?") for n in range(7)]
    assert len(list(adapter.generate(asked))) == 7
    list(adapter.generate(asked))
    assert adapter._answerer.features.encoded == 1


def test_too_long_dialogs_fail_or_are_cut_with_a_count(weights: Path) -> None:
    adapter = RaDialogProject(str(weights))
    turns = [Message("user", "Write the report."), Message("assistant", "Clear lungs.")]
    for n in range(30):
        turns += [Message("user", f"Question {n}?"), Message("assistant", "word " * 40)]
    long = Request("e/0/0", "easy_language", "x", (*turns, Message("user", "Short?")), request("i", IMAGES[0]).images)
    endless = request("e/1/1", IMAGES[0], "word " * 3000)
    responses = {r.id: r for r in adapter.generate([long, endless])}
    assert responses["e/0/0"].usage["dropped_turns"] > 0
    assert responses["e/1/1"].error is not None
    assert responses["e/1/1"].error.kind == "context"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"findings": "guess"}, "choose off, reference or predicted"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"cache": -1}, "cache=-1"),
        ({"dtype": "int3"}, "choose one of: float32, bfloat16, float16"),
        ({"attention": "flash"}, "choose sdpa or eager"),
        ({"device": "toaster"}, "this device cannot be used"),
    ],
)
def test_wrong_arguments_are_named(weights: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RaDialogProject(str(weights), **arguments)


def test_each_variant_refuses_the_checkpoint_of_the_other(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="radialog-align ships no weights"):
        RaDialogAlign()
    with pytest.raises(ModelError, match="use --model radialog-project"):
        RaDialogAlign(str(weights))
    monkeypatch.setattr(Checkpoint, "variant", "align")
    with pytest.raises(ModelError, match="use --model radialog-align"):
        RaDialogProject(str(weights))


def test_the_same_answers_with_other_kinds_of_attention(weights: Path) -> None:
    asked = [request("e/0/0", IMAGES[0])]
    eager = next(iter(RaDialogProject(str(weights), attention="eager").generate(asked)))
    assert eager.text == next(iter(RaDialogProject(str(weights), attention="sdpa").generate(asked))).text
    assert next(iter(RaDialogProject(str(weights), dtype="bfloat16").generate(asked))).error is None


def test_both_adapters_are_entry_points() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    points = declared["project"]["entry-points"]["radialog_bench.models"]
    loaded = {name: EntryPoint(name, value, "radialog_bench.models").load() for name, value in points.items()}
    assert loaded == {"radialog-project": RaDialogProject, "radialog-align": RaDialogAlign}
