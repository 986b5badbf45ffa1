"""The contract of an adapter's answers, held before anything is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.streaming import StreamingAdapter, Take
from radialog_bench.chat import Request, Response
from radialog_bench.watchdog import AdapterHungError, watched
from radialog_instruct.errors import ModelError

Open = TypeVar("Open")
_Answers = Callable[[], Iterable[Response | None]]


def checked_responses(adapter: Adapter, requests: list[Request], timeout: float | None = None) -> Iterator[Response]:
    """Yield an adapter's responses to a batch, held to the contract.

    An exception of the adapter becomes a failure of every request of the batch that has no answer yet.

    Args:
        adapter: The adapter.
        requests: The batch.
        timeout: Seconds it may be silent; None waits for ever.

    Raises:
        AdapterHungError: If it is silent for longer; what it left open was yielded as failures.
        ModelError: If a response has the wrong type, an unknown or repeated id, both text and error or neither, or if
            a request stays without response.
    """
    still_open = dict.fromkeys(request.id for request in requests)
    for response in _checked(adapter.name, lambda: adapter.generate(requests), still_open, timeout):
        if response is None:
            raise _broken(adapter.name, "returned NoneType instead of Response")
        del still_open[response.id]
        yield response
    if still_open:
        raise _unanswered(adapter.name, still_open, len(requests))


def checked_stream(
    adapter: StreamingAdapter, take: Take, still_open: Mapping[str, Open], timeout: float | None = None
) -> Iterator[Response | None]:
    """Yield an adapter's streamed responses, held to the contract.

    Args:
        adapter: The adapter.
        take: Gives it the next request.
        still_open: The requests it has taken, by id; the caller takes out what was answered.
        timeout: Seconds it may be without an answer; None waits for ever.

    Raises:
        AdapterHungError: As for ``checked_responses``.
        ModelError: As for ``checked_responses``.
    """
    yield from _checked(adapter.name, lambda: adapter.stream(take), still_open, timeout)
    if still_open:
        raise _unanswered(adapter.name, still_open, len(still_open))


def _checked(
    name: str, answers: _Answers, still_open: Mapping[str, Open], timeout: float | None
) -> Iterator[Response | None]:
    try:
        for response in answers() if timeout is None else watched(answers, timeout):
            if response is not None:
                _check(name, response, still_open)
            yield _storable(response) if response is not None else None
    except ModelError:
        raise
    except AdapterHungError as error:
        yield from (Response.failure(request_id, "timeout", error.what) for request_id in list(still_open))
        raise
    except Exception as error:  # noqa: BLE001 - third-party code may raise anything; it is counted, never lost
        for request_id in list(still_open):
            yield Response.failure(request_id, "adapter", f"{type(error).__name__}: {error}")


def _check(name: str, response: object, still_open: Mapping[str, Open]) -> None:
    if not isinstance(response, Response):
        raise _broken(name, f"returned {type(response).__name__} instead of Response")
    if response.id not in still_open:
        raise _broken(name, f"answered an unknown or already answered request {response.id!r}")
    if (response.text is None) == (response.error is None) or not isinstance(response.text, str | None):
        raise _broken(name, f"gave {response.id!r} neither a text nor a failure, or both")


def _storable(response: Response) -> Response:
    """Return a response that can be written as UTF-8: half of a surrogate pair is no text."""
    try:
        (response.text or "").encode()
    except UnicodeEncodeError as error:
        return Response.failure(response.id, "contract", f"the text is not valid Unicode ({error})")
    return response


def _unanswered(name: str, still_open: Mapping[str, Open], asked: int) -> ModelError:
    return _broken(name, f"left {len(still_open)} of {asked} requests without a response, {min(still_open)!r} first")


def _broken(name: str, what: str) -> ModelError:
    return ModelError(f"the adapter {what}", where=name, mend="see radialog_bench.adapters.base.Adapter")
