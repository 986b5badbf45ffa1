"""A client of OpenAI-compatible chat servers: many requests at a time, patient with a slow or overloaded server.

The replay and the bench both ask through it; what differs between them is only what a request holds.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from radialog_instruct.errors import ModelError, UsageError, missing_extra

if TYPE_CHECKING:
    import httpx2

Key = TypeVar("Key")

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED = frozenset({401, 403, 404})
_CONNECT = 10.0
"""Seconds for a connection to come about."""
_MAX_WAIT = 300.0
"""Longest wait a server may ask for, in seconds."""


@dataclass(frozen=True)
class ServerSettings:
    """How a server is asked.

    Attributes:
        base_url: Address up to and including ``/v1``.
        model: Name under which the server knows the model.
        concurrency: Requests at a time.
        timeout: Seconds a single request may take.
        retries: Further tries after a request that may succeed later.
        backoff: Seconds before the first of them; it doubles, up to a minute, with a jitter.
        api_key_variable: Environment variable that holds the key.
        model_option: The option that names the model, for error messages.
        url_option: The option that names the address, likewise.
    """

    base_url: str
    model: str
    concurrency: int = 32
    timeout: float = 600.0
    retries: int = 6
    backoff: float = 1.0
    api_key_variable: str = "OPENAI_API_KEY"
    model_option: str = "--served-model"
    url_option: str = "--base-url"


@dataclass(frozen=True, slots=True)
class Call(Generic[Key]):
    """One request.

    Attributes:
        key: What the caller knows it by.
        body: The body of the chat completion.
    """

    key: Key
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Completion(Generic[Key]):
    """What became of a call: a text, or a failure.

    Attributes:
        key: The call's key.
        text: The answer, or None when the request failed.
        finish_reason: ``"stop"`` or ``"length"``.
        prompt_tokens: Tokens of the prompt, 0 where the server does not say.
        completion_tokens: Tokens of the answer, 0 where the server does not say.
        failure: Why there is no answer.
        timed_out: Whether the server was too slow in the last try.
        seconds: Time of the last try, from sending to the whole answer.
    """

    key: Key
    text: str | None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failure: str | None = None
    timed_out: bool = False
    seconds: float = 0.0


class _End:
    """Stands behind the last call."""


_END = _End()


class ChatServer:
    """A server, and the connections to it.

    Args:
        settings: How it is asked.

    Raises:
        UsageError: If httpx2 is not installed, or the key holds characters a header cannot carry.
        ModelError: If the server does not answer, or does not know the model.
    """

    def __init__(self, settings: ServerSettings) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise missing_extra("httpx2", "openai") from error
        self._settings = settings
        key = os.environ.get(settings.api_key_variable, "").strip()
        if not key.isascii():
            raise UsageError("the key holds characters other than ASCII", where=settings.api_key_variable)
        limits = httpx2.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
        timeout = httpx2.Timeout(settings.timeout, connect=min(_CONNECT, settings.timeout))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # No redirects: a server that is allowed must not hand the reports on to one that is not.
        self._client = httpx2.AsyncClient(limits=limits, timeout=timeout, headers=headers, follow_redirects=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat-server", daemon=True)
        self._thread.start()
        self._running: set[Future[None]] = set()
        self._closed = False
        try:
            self.version = self._probe()
            """What the server says of itself, or "unknown"."""
        except BaseException:
            self.close()
            raise

    def ask(self, calls: Iterable[Call[Key] | None]) -> Iterator[Completion[Key] | None]:
        """Keep the server busy with ``concurrency`` calls, drawn lazily in the caller's thread.

        Args:
            calls: The calls. A None says that there is none right now: it is asked again after the next completion,
                and ends everything when nothing is under way.

        Yields:
            Completions as they finish, in any order; None after a second without one.

        Raises:
            ModelError: If the server went away or refuses every request; what was under way was yielded before.
        """
        results: queue.Queue[Completion[Key] | ModelError] = queue.Queue()
        waiting = iter(calls)
        pending, exhausted = 0, False
        fatal: ModelError | None = None
        while True:
            while not exhausted and pending < self._settings.concurrency:
                call = next(waiting, _END)
                if isinstance(call, _End):
                    exhausted = True
                    break
                if call is None:
                    break
                future = asyncio.run_coroutine_threadsafe(self._answer(call, results), self._loop)
                self._running.add(future)
                future.add_done_callback(self._running.discard)
                pending += 1
            if not pending:
                if fatal is not None:
                    raise fatal
                return
            try:
                result = results.get(timeout=1.0)
            except queue.Empty:
                yield None
                continue
            pending -= 1
            if isinstance(result, ModelError):
                # No further request, but what is under way may still be answered, and an answer is never thrown away.
                fatal, exhausted = fatal or result, True
                continue
            yield result

    def limit(self, seconds: float) -> None:
        """Change the seconds a single request may take."""
        import httpx2

        self._settings = replace(self._settings, timeout=seconds)
        self._client.timeout = httpx2.Timeout(seconds, connect=min(_CONNECT, seconds))

    def close(self) -> None:
        """Cancel what is running and close all connections; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for future in tuple(self._running):
            future.cancel()
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    async def _answer(self, call: Call[Key], results: queue.Queue[Completion[Key] | ModelError]) -> None:
        try:
            results.put(await self._asked(call))
        except ModelError as error:
            results.put(error)
        except Exception as error:  # noqa: BLE001 - one request must not take the others along
            results.put(Completion(call.key, None, failure=f"{type(error).__name__}: {error}"))

    async def _asked(self, call: Call[Key]) -> Completion[Key]:
        import httpx2

        settings = self._settings
        content = json.dumps(call.body).encode()
        failure, wait = "", 0.0
        lost = late = False
        for attempt in range(settings.retries + 1):
            if attempt:
                await asyncio.sleep(max(wait, self._delay(call, attempt)))
            wait, lost, late = 0.0, False, False
            start = time.perf_counter()
            try:
                response = await self._client.post(
                    f"{settings.base_url}/chat/completions",
                    content=content,
                    headers={"Content-Type": "application/json"},
                )
            except httpx2.TimeoutException:
                failure, late = f"no answer within {settings.timeout:g} s", True
                continue
            except httpx2.TransportError as error:
                failure, lost = f"the connection broke ({type(error).__name__})", isinstance(error, httpx2.ConnectError)
                continue
            status = response.status_code
            if status in _REFUSED:
                raise ModelError(
                    f"the server refuses with status {status}: {_brief(response.text)}",
                    where=settings.base_url,
                    mend=f"check --model, {settings.url_option} and {settings.api_key_variable}",
                )
            if status in _RETRIED:
                failure, wait = f"status {status}", _retry_after(response.headers.get("retry-after"))
                continue
            if status != 200:
                return Completion(call.key, None, failure=f"status {status}: {_brief(response.text)}")
            parsed = _parsed(call.key, response.content, time.perf_counter() - start)
            if parsed is not None:
                return parsed
            failure = "the server's answer is no chat completion"
        if lost:
            raise ModelError(
                f"the server is gone: {failure}, {settings.retries + 1} times",
                where=settings.base_url,
                mend="start it again and run the same command; committed answers are kept",
            )
        return Completion(call.key, None, failure=f"{failure}, {settings.retries + 1} times", timed_out=late)

    def _delay(self, call: Call[Any], attempt: int) -> float:
        # The jitter comes from the key: requests that failed together do not come back together.
        digest = blake2b(repr((call.key, attempt)).encode(), digest_size=1).digest()
        return min(60.0, self._settings.backoff * 2.0 ** (attempt - 1)) * (0.5 + digest[0] / 255)

    def _probe(self) -> str:
        """Make sure that somebody answers before a report is read for it."""
        import httpx2

        settings = self._settings
        deadline = time.monotonic() + settings.backoff * 10
        while True:
            try:
                ask = self._client.get(f"{settings.base_url}/models", timeout=10.0)
                response = asyncio.run_coroutine_threadsafe(_awaited(ask), self._loop).result(timeout=15)
                break
            except (httpx2.TransportError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    mend = f"start it, or check {settings.url_option}"
                    what = f"the server does not answer ({type(error).__name__})"
                    raise ModelError(what, where=settings.base_url, mend=mend) from error
                time.sleep(settings.backoff)
        names = _model_names(response)
        # Some servers list their models with a prefix that requests may leave out.
        if names is not None and settings.model not in names and f"models/{settings.model}" not in names:
            known = ", ".join(sorted(names)[:5]) or "none"
            what = f"the server has no model {settings.model!r}"
            raise ModelError(what, where=settings.base_url, mend=f"{settings.model_option} takes one of: {known}")
        server: str = response.headers.get("server", "unknown")
        return server


async def _awaited(call: Any) -> Any:
    return await call


def _model_names(response: httpx2.Response) -> set[str] | None:
    """Return the models a server lists, or None where it lists none in a form we know."""
    try:
        return {entry["id"] for entry in response.json()["data"]}
    except (ValueError, KeyError, TypeError):
        return None


def _parsed(key: Key, content: bytes, seconds: float) -> Completion[Key] | None:
    """Return the answer in a response, or None when it is garbage or was cut short."""
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text, finish, usage = choice["message"]["content"], choice["finish_reason"], body.get("usage") or {}
        if finish == "content_filter":
            # It would be filtered again; another try only costs money.
            return Completion(key, None, finish, failure="the server's filter withheld the answer", seconds=seconds)
        if not isinstance(text, str) or finish not in ("stop", "length"):
            return None
        tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        return Completion(key, text, finish, *tokens, seconds=seconds)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _retry_after(header: str | None) -> float:
    """Return the seconds a server asks to wait: a number, or a date."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _MAX_WAIT)


def _brief(text: str) -> str:
    return " ".join(text.split())[:200]
