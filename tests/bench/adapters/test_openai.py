from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from radialog_bench.adapters.content import data_url
from radialog_bench.adapters.registry import load_adapter
from radialog_instruct.errors import DataError, ModelError, UsageError
from radialog_instruct.records import Terms
from tests.bench.adapters.asking import IMAGES, answers, context, request
from tests.instruct.replay.fake_server import MODEL, Script, serving


def opened(url: str, **arguments: Any) -> Any:
    adapter = load_adapter(f"openai:{MODEL}", {"base_url": url, "backoff": 0.005, "retries": 3, **arguments})
    adapter.prepare(context())
    return adapter


def echo(messages: list[dict[str, Any]]) -> str:
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def test_the_image_stands_in_the_first_user_turn_as_its_own_bytes() -> None:
    script = Script()
    with serving(script) as url:
        adapter = opened(url, system="Be brief.")
        (response,) = answers(adapter, [request("a", "Look.", "I see a heart.", "Large?", stop=("\n",))]).values()
        adapter.close()
    body = script.bodies[0]
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    image, text = body["messages"][1]["content"]
    assert text == {"type": "text", "text": "Look."}
    assert base64.b64decode(image["image_url"]["url"].removeprefix("data:image/jpeg;base64,")) == IMAGES[0].read_bytes()
    assert [message["content"] for message in body["messages"][2:]] == ["I see a heart.", "Large?"]
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (0.0, 8, ["\n"])
    assert response.usage["prompt_tokens"] == 10
    assert response.usage["seconds"] > 0


def test_many_requests_are_under_way_at_once_and_each_gets_its_own_answer() -> None:
    script = Script(answer=echo, delay=0.05)
    with serving(script) as url:
        adapter = opened(url, concurrency=8)
        got = answers(adapter, [request(str(n), f"question {n}") for n in range(20)])
        adapter.close()
    assert {name: response.text for name, response in got.items()} == {str(n): f"question {n}" for n in range(20)}
    assert 4 <= script.most_running <= 8


def test_a_stream_asks_what_answers_bring_and_fails_unreadable_images_alone() -> None:
    script = Script(answer=echo, delay=0.02)
    asked = [request(str(n), f"q{n}", image=Path("none.png") if n == 3 else IMAGES[0]) for n in range(6)]
    later = [request("later", "q")]
    queue = asked[::-1]
    with serving(script) as url:
        adapter = opened(url, concurrency=4)
        got: dict[str, str | None] = {}
        for response in adapter.stream(lambda: queue.pop() if queue else None):
            if response is not None:
                got[response.id] = response.text
            if len(got) >= 5 and later:
                queue.append(later.pop())
        adapter.close()
    assert got == {str(n): f"q{n}" for n in (0, 1, 2, 4, 5)} | {"3": None, "later": "q"}


def test_a_run_through_a_server_scores_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from radialog_bench.cli import app
    from radialog_instruct.terminal import run_app

    script = Script(answer=lambda messages: "The lungs are clear.")
    with serving(script) as url:
        common = [
            "run",
            "-m",
            f"openai:{MODEL}",
            "-e",
            "report_generation,findings_qa",
            "--limit",
            "3",
            "--timeout",
            "30",
        ]
        command = [*common, "--bootstrap", "0", "-o", str(tmp_path / "r"), "--model-args", f"base_url={url}"]
        assert run_app(app, "radialog-bench", command) == 0, capsys.readouterr().err
        n, scores = len(script.bodies), json.loads((tmp_path / "r" / "results.json").read_text())["evaluations"]
        assert run_app(app, "radialog-bench", [*command, "--model-args", "concurrency=2"]) == 0
    assert n == 3 + 3 * 14
    assert len(script.bodies) == n
    assert json.loads((tmp_path / "r" / "results.json").read_text())["evaluations"] == scores
    assert "taken from the log, 0 were asked" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [503, 429, "garbage", "half"])
def test_what_may_succeed_later_is_tried_again(fault: Any) -> None:
    script = Script(
        answer=echo, faults=lambda number, before: fault if before < 2 else None, headers={"retry-after": "0"}
    )
    with serving(script) as url:
        adapter = opened(url)
        got = answers(adapter, [request(str(n), f"q{n}") for n in range(3)])
        adapter.close()
    assert [got[str(n)].text for n in range(3)] == ["q0", "q1", "q2"]
    assert set(script.asked.values()) == {3}


def test_a_refused_request_and_an_unreadable_image_fail_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    script = Script(faults=lambda number, before: 400 if number == 1 else None)
    with serving(script) as url:
        adapter = opened(url, concurrency=1)
        asked = [request("a"), request("b"), request("bad", image=tmp_path / "bad.png"), request("c")]
        got = answers(adapter, [*asked, request("gone", image=tmp_path / "none.png")])
        adapter.close()
    errors = {name: response.error.kind for name, response in got.items() if response.error is not None}
    assert errors == {"b": "adapter", "bad": "image", "gone": "image"}
    assert got["b"].error is not None
    assert "status 400" in got["b"].error.message


def test_a_slow_server_is_a_timeout_and_a_filtered_answer_is_not_asked_again() -> None:
    script = Script(delay=0.4)
    with serving(script) as url:
        adapter = opened(url, retries=0)
        assert adapter.limit_silence(0.1)
        (response,) = answers(adapter, [request("a")]).values()
        adapter.close()
    assert response.error is not None
    assert response.error.kind == "timeout"
    script = Script(faults=lambda number, before: "filtered")
    with serving(script) as url:
        adapter = opened(url)
        (response,) = answers(adapter, [request("a")]).values()
        adapter.close()
    assert response.error is not None
    assert "filter" in response.error.message
    assert sum(script.asked.values()) == 1


def test_a_server_that_refuses_for_good_is_a_model_error() -> None:
    script = Script(faults=lambda number, before: 401)
    with serving(script) as url:
        adapter = opened(url)
        with pytest.raises(ModelError, match="status 401.*OPENAI_API_KEY"):
            answers(adapter, [request("a")])
        adapter.close()


def test_fields_can_be_renamed_added_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    with serving(script) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url + "/")
        extra = {"reasoning_effort": "low", "temperature": None}
        adapter = load_adapter(
            f"openai:{MODEL}", {"max_tokens_field": "max_completion_tokens", "extra": extra, "detail": "low"}
        )
        adapter.prepare(context())
        answers(adapter, [request("a")])
        answers(adapter, [request("b", "No image.", image=None)])
        adapter.close()
    first, second = script.bodies
    assert (first["max_completion_tokens"], first["reasoning_effort"]) == (8, "low")
    assert not {"temperature", "max_tokens"} & set(first)
    assert first["messages"][0]["content"][0]["image_url"]["detail"] == "low"
    assert second["messages"] == [{"role": "user", "content": "No image."}]


def test_credentialed_images_stay_at_home() -> None:
    script = Script()
    with serving(script) as url:
        adapter = opened(url)
        adapter.prepare(context(Terms.CREDENTIALED))  # loopback
        adapter._base_url = "https://api.example.com/v1"
        adapter.prepare(context(Terms.OPEN))
        with pytest.raises(
            UsageError, match=r"--model-args base_url: api\.example\.com.*zero_retention=api\.example\.com"
        ):
            adapter.prepare(context(Terms.CREDENTIALED))
        adapter._vouched = ("api.example.com",)
        adapter.prepare(context(Terms.CREDENTIALED))
        adapter.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_url": "localhost:8000"}, "is no address"),
        ({"extra": "reasoning_effort=low"}, "is no object"),
        ({"concurrency": 0}, "at least 1"),
        ({"model": "x"}, "stands in --model already"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_adapter("openai:m", arguments)


def test_nobody_there_and_an_unknown_model_are_model_errors() -> None:
    with pytest.raises(ModelError, match="does not answer.*check --model-args base_url"):
        load_adapter("openai:m", {"base_url": "http://127.0.0.1:9/v1", "backoff": 0.001})
    with serving(Script(models=("models/gemini", "other"))) as url:
        load_adapter("openai:gemini", {"base_url": url}).close()
        with pytest.raises(ModelError, match="no model 'm'.*--model openai:NAME takes one of"):
            load_adapter("openai:m", {"base_url": url})


def test_the_address_and_the_patience_are_no_part_of_the_model() -> None:
    with serving(Script()) as first, serving(Script()) as second:
        one, two = opened(first), opened(second, concurrency=2)
        assert one.fingerprint() == two.fingerprint()
        assert one.fingerprint() != opened(first, revision="2").fingerprint()
        assert {"base_url", "concurrency"} <= one.free_arguments
        one.close(), two.close()


def decoded(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_deep_and_large_images_are_sent_as_8_bit_png(tmp_path: Path) -> None:
    deep = Image.new("I;16", (40, 20))
    deep.putdata([1000 + n for n in range(800)])
    deep.save(tmp_path / "deep.png")
    shown = decoded(data_url(tmp_path / "deep.png"))
    assert (shown.mode, shown.size, shown.getextrema()) == ("L", (40, 20), (0, 255))
    assert decoded(data_url(tmp_path / "deep.png", 10)).size == (10, 5)
    assert data_url(IMAGES[0], 10_000).startswith("data:image/jpeg")
    (tmp_path / "cut.png").write_bytes((tmp_path / "deep.png").read_bytes()[:60])
    with pytest.raises(DataError, match="damaged"):
        data_url(tmp_path / "cut.png")


def test_a_dicom_file_is_sent_as_a_picture(tmp_path: Path) -> None:
    from tests.instruct.sources.test_images import dicom

    assert data_url(dicom(tmp_path / "a.dcm")).startswith("data:image/png;base64,")
