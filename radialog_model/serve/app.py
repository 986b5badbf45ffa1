"""The ASGI application: chat completions, models, health."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from radialog_instruct.errors import DataError
from radialog_model.checkpoint import Checkpoint
from radialog_model.generate import Prompt, Question, Sampling, fitted_prompt, predict_findings
from radialog_model.serve.backend import Backend, Piece
from radialog_model.serve.errors import ApiError
from radialog_model.serve.images import ImageLimits, SentImage, read_image
from radialog_model.serve.request import OFF, PREDICTED, ChatBody, parse_body

_REMEMBERED = 4096
"""Images whose findings text is remembered."""
_TASK = "report_generation"
_LOOK_SECONDS = 0.5
"""How often it is looked whether a client that waits is still there."""
_CLIENT_GONE = 499
_T = TypeVar("_T")


@dataclass(frozen=True)
class ServerSettings:
    """How the server behaves.

    Attributes:
        model: Name under which clients ask for the model.
        api_key: What clients must send, or None.
        max_new_tokens: Most tokens of an answer where the request names no limit.
        max_body: Most bytes of a request.
        images: What an image may be.
        findings: What holds where a request does not say: ``predicted`` or ``off``.
    """

    model: str
    api_key: str | None = None
    max_new_tokens: int = 300
    max_body: int = 32 * 2**20
    images: ImageLimits = field(default_factory=ImageLimits)
    findings: str = PREDICTED


@dataclass(frozen=True)
class _Asked:
    """A request, ready for the backend."""

    body: ChatBody
    prompt: Prompt
    image: SentImage
    sampling: Sampling

    def note(self) -> dict[str, object]:
        """Return what the client should know beside the answer."""
        return {"findings": self.prompt.question.findings, "dropped_turns": self.prompt.dropped_turns}


class _Server:
    """The handlers.

    Args:
        checkpoint: The checkpoint: tokenizer, tower and findings head.
        backend: What answers.
        settings: The settings.
    """

    def __init__(self, checkpoint: Checkpoint, backend: Backend, settings: ServerSettings) -> None:
        self._checkpoint, self.backend, self._settings = checkpoint, backend, settings
        self._findings: OrderedDict[str, str | None] = OrderedDict()
        self._predicting = asyncio.Lock()

    async def health(self, _: Request) -> Response:
        """Say whether requests would be answered."""
        well = self.backend.healthy()
        return JSONResponse({"status": "ok" if well else "unavailable"}, status_code=200 if well else 503)

    async def models(self, request: Request) -> Response:
        """List the one model."""
        self._authorize(request)
        model = {"id": self._settings.model, "object": "model", "created": 0, "owned_by": "radialog"}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(self, request: Request) -> Response:
        """Answer a dialog about an image."""
        self._authorize(request)
        content = await self._content(request)
        body = await asyncio.to_thread(parse_body, content)
        asked = await self._asked(body)
        pieces = self.backend.stream(asked.prompt, asked.image, asked.sampling)
        completion = _Completion(self._settings.model, asked)
        if not body.stream:
            return JSONResponse(await _unless_gone(request, completion.whole(pieces)))
        # What fails before the first piece still has its own status.
        first = await _unless_gone(request, _first(pieces))
        return StreamingResponse(completion.events(first, pieces), media_type="text/event-stream")

    def _authorize(self, request: Request) -> None:
        key = self._settings.api_key
        if key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise ApiError("wrong or missing API key", status=401, code="invalid_api_key")

    async def _content(self, request: Request) -> bytes:
        limit, content = self._settings.max_body, bytearray()
        too_long = ApiError(f"the request has more than {limit} bytes", status=413, code="request_too_large")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise too_long
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise too_long
        return bytes(content)

    async def _asked(self, body: ChatBody) -> _Asked:
        known = self._settings.model
        if body.model != known:
            raise ApiError(
                f"no model {body.model!r}: this is {known}", status=404, param="model", code="model_not_found"
            )
        context = self.backend.context
        sampling = body.sampling(min(self._settings.max_new_tokens, context))
        if sampling.max_new_tokens > context:
            what = f"max_tokens is {sampling.max_new_tokens}, the model's context {context}"
            raise ApiError(what, param="max_tokens")
        turns, url = body.turns(), body.image_url()
        image = await asyncio.to_thread(read_image, url, self._settings.images)
        findings = await self._text(body, image)
        question = Question(turns, _TASK, image.pixels, findings, image.key)
        try:
            prompt = await asyncio.to_thread(
                fitted_prompt, self._checkpoint, question, sampling.max_new_tokens, context=context
            )
        except DataError as error:
            raise ApiError(str(error), param="messages", code="context_length_exceeded") from None
        return _Asked(body, prompt, image, sampling)

    async def _text(self, body: ChatBody, image: SentImage) -> str | None:
        wanted = body.findings if "findings" in body.model_fields_set else self._settings.findings
        if wanted == OFF:
            return None
        if wanted != PREDICTED:
            return wanted
        async with self._predicting:
            if image.key not in self._findings:
                texts = await asyncio.to_thread(predict_findings, self._checkpoint, [image.pixels])
                self._findings[image.key] = texts[0]
                while len(self._findings) > _REMEMBERED:
                    self._findings.popitem(last=False)
            self._findings.move_to_end(image.key)
            return self._findings[image.key]


class _Completion:
    """An answer in OpenAI's words."""

    def __init__(self, model: str, asked: _Asked) -> None:
        self._asked = asked
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    async def whole(self, pieces: AsyncIterator[Piece]) -> dict[str, Any]:
        """Return the completion once it is there."""
        text, last = "", Piece("", "stop")
        async for piece in pieces:
            text, last = text + piece.text, piece
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": last.finish}
        return self._head | {
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(last),
            "radialog": self._asked.note(),
        }

    async def events(self, first: Piece, pieces: AsyncIterator[Piece]) -> AsyncIterator[str]:
        """Yield the completion as server-sent events."""
        yield self._chunk({"role": "assistant", "content": ""}, radialog=self._asked.note())
        last = first
        try:
            if first.text:
                yield self._chunk({"content": first.text})
            async for piece in pieces:
                last = piece
                if piece.text:
                    yield self._chunk({"content": piece.text})
        except ApiError as error:
            yield f"data: {json.dumps(error.body())}\n\n"
            return
        yield self._chunk({}, finish=last.finish or "stop")
        options = self._asked.body.stream_options
        if options is not None and options.include_usage:
            closing = self._head | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(last)}
            yield f"data: {json.dumps(closing)}\n\n"
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, str], *, finish: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event = self._head | {"object": "chat.completion.chunk", "choices": [choice], **more}
        return f"data: {json.dumps(event)}\n\n"


async def _first(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces, Piece("", "stop"))


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, _T]) -> _T:
    """Return an answer; where the client leaves before it is there, it is given up.

    Raises:
        ApiError: If the client left; nobody reads it.
    """
    task = asyncio.create_task(answer)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            if await request.is_disconnected():
                raise ApiError("the client has left", status=_CLIENT_GONE)
        return task.result()
    finally:
        task.cancel()


def _usage(last: Piece) -> dict[str, int]:
    total = last.prompt_tokens + last.new_tokens
    return {"prompt_tokens": last.prompt_tokens, "completion_tokens": last.new_tokens, "total_tokens": total}


def build_app(checkpoint: Checkpoint, backend: Backend, settings: ServerSettings) -> Starlette:
    """Return the application.

    Args:
        checkpoint: The checkpoint: tokenizer, tower and findings head.
        backend: What answers; closed when the application shuts down.
        settings: The settings.
    """
    server = _Server(checkpoint, backend, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await backend.close()

    async def api_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return ApiError(str(error.detail), status=error.status_code).response()

    async def unexpected(_: Request, error: Exception) -> Response:
        return ApiError(f"an error inside the server ({type(error).__name__})", status=500).response()

    return Starlette(
        routes=[
            Route("/health", server.health),
            Route("/v1/models", server.models),
            Route("/v1/chat/completions", server.chat, methods=["POST"]),
        ],
        exception_handlers={ApiError: api_error, HTTPException: http_error, Exception: unexpected},
        lifespan=lifespan,
    )
