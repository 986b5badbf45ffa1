from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import httpx2
import pytest

from radialog_model.checkpoint import Checkpoint
from radialog_model.generate import Prompt, Sampling
from radialog_model.serve.app import ServerSettings, build_app
from radialog_model.serve.backend import Piece
from radialog_model.serve.images import SentImage
from radialog_model.serve.request import PREDICTED, parse_body
from radialog_model.serve.tower import load_tower
from tests.model.test_serve import body, post, served


@pytest.fixture(scope="module")
def small() -> Checkpoint:
    return load_tower()


class Endless:
    """Never answers, and notes that it was given up."""

    context = 1024

    def __init__(self) -> None:
        self.begun, self.given_up = threading.Event(), threading.Event()

    async def stream(self, prompt: Prompt, image: SentImage, sampling: Sampling) -> AsyncIterator[Piece]:
        self.begun.set()
        try:
            await asyncio.Event().wait()
            yield Piece("", "stop")
        finally:
            self.given_up.set()

    def healthy(self) -> bool:
        return True

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_before_the_answer_gives_it_up(small: Checkpoint, stream: bool) -> None:
    endless = Endless()
    with served(build_app(small, endless, ServerSettings("radialog-project"))) as url:
        client = httpx2.Client(timeout=httpx2.Timeout(10, read=1.0))
        with client, pytest.raises(httpx2.ReadTimeout):
            client.post(f"{url}/v1/chat/completions", json=body(findings="off", stream=stream))
        assert endless.begun.wait(10)
        assert endless.given_up.wait(10)


NULLS = ("temperature", "seed", "stream", "stream_options", "stop", "max_tokens", "findings", "n", "top_p", "tools")


def test_null_is_as_if_absent(small: Checkpoint) -> None:
    absent = parse_body(json.dumps({key: v for key, v in body().items() if key != "max_tokens"}).encode())
    null = parse_body(json.dumps(body() | dict.fromkeys(NULLS)).encode())
    assert null == absent
    assert null.sampling(7) == Sampling(7)
    assert (null.stream, null.findings) == (False, PREDICTED)
    assert "findings" not in null.model_fields_set  # the server's own setting holds
    asked = parse_body(json.dumps(body(stream_options={"include_usage": None})).encode())
    assert asked.stream_options is not None
    assert not asked.stream_options.include_usage


def test_a_field_that_is_needed_may_not_be_null(small: Checkpoint) -> None:
    with served(build_app(small, Endless(), ServerSettings("radialog-project"))) as url:
        response = post(url, body() | {"model": None})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"
