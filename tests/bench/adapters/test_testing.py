"""The conformance kit finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from radialog_bench import Adapter, Message, Request, Response
from radialog_bench.adapters.registry import load_adapter
from radialog_bench.cli import app
from radialog_bench.testing import check_adapter
from radialog_instruct.terminal import run_app

Answer = Callable[[list[Request]], Iterable[Response]]


class Model(Adapter):
    """Answers as a test wants it to."""

    name = "model"

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        return self.answer(requests)


def text(r: Request) -> str:
    return f"{r.messages[-1].content} {r.images[0].sha256 if r.images else ''}"


def good(requests: list[Request]) -> Iterable[Response]:
    for r in reversed(requests):
        try:
            for image in r.images:
                Image.open(image.path).load()
            yield Response(r.id, text(r))
        except OSError as error:
            yield Response.failure(r.id, "image", str(error))


def fragile(requests: list[Request]) -> Iterable[Response]:
    return [Response(r.id, text(r)) for r in requests]


def forgetful(requests: list[Request]) -> Iterable[Response]:
    return [Response(r.id, text(r)) for r in requests[:1]]


def merged(requests: list[Request]) -> Iterable[Response]:
    unique = {text(r): r for r in requests}
    return [Response(r.id, answer) for answer, r in unique.items()]


def chatty(requests: list[Request]) -> Iterable[Response]:
    return [*good(requests), Response("nobody", "hello")]


def random(numbers: Iterable[int]) -> Answer:
    counter = iter(numbers)
    return lambda requests: [Response(r.id, str(next(counter))) for r in requests]


def by_size(requests: list[Request]) -> Iterable[Response]:
    return [
        Response(r.id, f"{len(requests)} {text(r)}") for r in requests if not r.images or r.images[0].path.is_file()
    ]


def remembering() -> Answer:
    heard: list[str] = []

    def answer(requests: list[Request]) -> Iterable[Response]:
        heard.extend(m.content for r in requests for m in r.messages if m.role == "assistant")
        return [Response(r.id, f"{len(heard)} {r.messages[-1].content}") for r in requests]

    return answer


def status(answer: Answer) -> dict[str, str]:
    return {check.name: check.status for check in check_adapter(Model(answer)).checks}


def test_a_good_model_passes_everything() -> None:
    report = check_adapter(Model(good))
    assert report.passed
    assert {check.status for check in report.checks} == {"passed"}, str(report)
    assert str(report).splitlines()[0] == "model: keeps the contract"


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (fragile, "a missing image fails alone"),
        (forgetful, "every request of a batch has one answer"),
        (merged, "equal questions with different ids are answered each"),
        (chatty, "an empty batch has no answers"),
        (random(count()), "one request, and the same again, has the same answer"),
        (remembering(), "nothing is remembered between dialogs"),
        (lambda requests: 1 / 0, "every request of a batch has one answer"),
        (lambda requests: None, "every request of a batch has one answer"),
        (lambda requests: [Response(r.id, 5) for r in requests], "any Unicode is taken"),  # type: ignore[arg-type]
    ],
)
def test_a_fault_is_found_by_its_check(answer: Answer, failed: str) -> None:
    assert status(answer)[failed] == "failed"


def test_what_is_allowed_but_worth_knowing_is_noted() -> None:
    found = status(by_size)
    assert found["an answer does not depend on its batch"] == "noted"
    assert (
        status(lambda requests: [Response(r.id, "blind") for r in requests])["a missing image fails alone"] == "noted"
    )


def test_a_render_that_loses_the_question_is_found() -> None:
    class Bad(Model):
        def render(self, request: Request) -> tuple[Message, ...]:
            return (*request.messages, Message("assistant", ""))

    report = check_adapter(Bad(good))
    assert [check.name for check in report.checks if check.status == "failed"] == ["render ends with a user turn"]


@pytest.mark.parametrize("name", ["constant", "echo", "oracle", "retrieval"])
def test_the_baselines_keep_the_contract(name: str) -> None:
    report = check_adapter(load_adapter(name))
    assert report.passed, str(report)


def test_the_command_prints_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.py").write_text("class M:\n    def generate(self, requests):\n        return []\n")
    assert run_app(app, "radialog-bench", ["selfcheck", "-m", f"{tmp_path / 'm.py'}:M"]) == 4
    out = capsys.readouterr().out
    assert "M: breaks the contract" in out
    assert "left 3 of 3 requests without a response" in out
    assert run_app(app, "radialog-bench", ["selfcheck", "-m", "no-such-model"]) == 2


def test_the_installation_checks_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, "radialog-bench", ["selfcheck"]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "radialog-bench: works"
    assert out[1].split(maxsplit=1) == ["passed", "the reference reaches every ceiling"]
