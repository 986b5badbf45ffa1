"""Any model behind an OpenAI-compatible server: vLLM, SGLang, and the public services."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from radialog_bench.adapters.base import Adapter, BenchContext
from radialog_bench.adapters.content import chat_messages, data_url, with_system
from radialog_bench.adapters.streaming import Take
from radialog_bench.chat import Message, Request, Response
from radialog_instruct.chat_server import Call, ChatServer, Completion, ServerSettings
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.records import Terms
from radialog_instruct.replay.hosts import check_host

BASE_URL = "http://127.0.0.1:8000/v1"
_NEVER = object()
BASE_URL_OPTION = "--model-args base_url"


class OpenAIChat(Adapter):
    """Asks chat completions, ``concurrency`` at a time; answers come as they finish.

    The server's own defaults for what a request does not name (a repetition penalty, say) hold. Images of credentialed
    sources go to loopback and private addresses only, unless ``zero_retention`` names the host.

    Args:
        model: Name under which the server knows the model.
        base_url: Address up to and including ``/v1``; by default ``$OPENAI_BASE_URL``, else a server on this machine.
        concurrency: Requests at a time; ``--window`` dialogs must have as many to ask.
        timeout: Seconds a request may take.
        retries: Further tries after a request that may succeed later.
        backoff: Seconds before the first of them; it doubles.
        api_key_env: Environment variable with the key.
        zero_retention: Host, or hosts joined by commas, that by contract keep nothing.
        system: A system message before each dialog.
        max_side: Longest side of an image in pixels; a larger one is shrunk.
        detail: OpenAI's ``detail`` of an image: ``low``, ``high`` or ``auto``.
        max_tokens_field: Name of the limit in a request; reasoning models want ``max_completion_tokens``.
        extra: Further fields of every request, for example ``{"reasoning_effort": "low"}``; null removes a field.
        revision: Whatever tells apart two models under one name; part of the fingerprint.

    Raises:
        UsageError: If an argument is wrong, or the address may not be used.
        ModelError: If the server does not answer, or does not know the model.
    """

    free_arguments = frozenset(
        {"base_url", "concurrency", "timeout", "retries", "backoff", "api_key_env", "zero_retention"}
    )

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        *,
        concurrency: int = 32,
        timeout: float = 600.0,
        retries: int = 6,
        backoff: float = 1.0,
        api_key_env: str = "OPENAI_API_KEY",
        zero_retention: str | None = None,
        system: str | None = None,
        max_side: int | None = None,
        detail: str | None = None,
        max_tokens_field: str = "max_tokens",
        extra: dict[str, Any] | None = None,
        revision: str | None = None,
    ) -> None:
        if not isinstance(extra, dict | None):
            raise UsageError(f"extra={extra!r} is no object", where="--model-args", mend="""extra='{"top_k": 1}'""")
        if concurrency < 1 or retries < 0 or (max_side is not None and max_side < 1):
            raise UsageError("concurrency and max_side are at least 1, retries at least 0", where="--model-args")
        self.name = f"openai:{model}"
        self._model, self._revision = model, revision
        self._base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or BASE_URL).rstrip("/")
        self._vouched = tuple(host.strip() for host in (zero_retention or "").split(",") if host.strip())
        self._allowed = False
        self._system, self._max_side, self._detail = system, max_side, detail
        self._limit, self._extra = max_tokens_field, extra or {}
        self._check(Terms.OPEN)
        host = urlsplit(self._base_url).hostname
        self.notices = (f"asked at {host}: the server says which model it is, not the weights' hash",)
        self._server = ChatServer(
            ServerSettings(
                base_url=self._base_url,
                model=model,
                concurrency=concurrency,
                timeout=timeout,
                retries=retries,
                backoff=backoff,
                api_key_variable=api_key_env,
                model_option="--model openai:NAME",
                url_option=BASE_URL_OPTION,
            )
        )

    def fingerprint(self) -> str:
        """Return a hash of the name the server knows; the address is not part of it, so that a run can move."""
        return sha256(json.dumps(["openai", self._model, self._revision]).encode()).hexdigest()

    def prepare(self, context: BenchContext) -> None:
        """Make sure that the server may see the source.

        Raises:
            UsageError: If the source is credentialed and the host neither private nor vouched for.
        """
        self._check(context.terms)
        self._allowed = True

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the neutral dialog behind the system message."""
        return with_system(request.messages, self._system)

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Ask; an image that cannot be read fails its own request only."""
        if not self._allowed:
            self._check(Terms.CREDENTIALED)
        for response in self._asked(requests):
            if response is not None:
                yield response

    def stream(self, take: Take) -> Iterator[Response | None]:
        """Ask whenever the server has room; an answer that comes early lets its dialog go on."""
        if not self._allowed:
            self._check(Terms.CREDENTIALED)
        # The iterator never ends by itself: a None says that there is nothing to ask right now.
        yield from self._asked(iter(take, _NEVER))

    def limit_silence(self, seconds: float) -> bool:
        """Give a request up after this long, and try it again."""
        self._server.limit(seconds)
        return True

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _asked(self, requests: Iterable[Request | None]) -> Iterator[Response | None]:
        unreadable: list[Response] = []
        for done in self._server.ask(self._calls(requests, unreadable)):
            yield from unreadable
            unreadable.clear()
            yield _response(done) if done is not None else None
        yield from unreadable

    def _calls(self, requests: Iterable[Request | None], unreadable: list[Response]) -> Iterator[Call[str] | None]:
        """Make calls when the server has room for them, so that images of waiting requests take no memory."""
        for request in requests:
            try:
                yield Call(request.id, self._body(request)) if request is not None else None
            except DataError as error:
                assert request is not None
                unreadable.append(Response.failure(request.id, "image", str(error)))

    def _body(self, request: Request) -> dict[str, Any]:
        images = [self._image(data_url(image.path, self._max_side)) for image in request.images]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_plain(message) for message in chat_messages(self.render(request), images)],
            "temperature": request.generation.temperature,
            self._limit: request.generation.max_new_tokens,
        }
        if request.generation.stop:
            body["stop"] = list(request.generation.stop)
        return {name: value for name, value in (body | self._extra).items() if value is not None}

    def _image(self, url: str) -> dict[str, Any]:
        detail = {"detail": self._detail} if self._detail else {}
        return {"type": "image_url", "image_url": {"url": url, **detail}}

    def _check(self, terms: Terms) -> None:
        vouching = "--model-args zero_retention="
        check_host(self._base_url, terms, self._vouched, where=BASE_URL_OPTION, vouching=vouching)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without images as plain text, which every server takes."""
    blocks = message["content"]
    return {**message, "content": blocks[0]["text"]} if len(blocks) == 1 else message


def _response(done: Completion[str]) -> Response:
    if done.text is None:
        return Response.failure(done.key, "timeout" if done.timed_out else "adapter", done.failure or "no answer")
    usage = {"prompt_tokens": float(done.prompt_tokens), "new_tokens": float(done.completion_tokens)}
    return Response(done.key, done.text, usage={**usage, "seconds": round(done.seconds, 4)})
