"""What a backend is: requests in, results out as they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from radialog_instruct.replay.request import ReplayRequest, Sampling


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a request: a text, or a failure.

    Attributes:
        key: Key of the request.
        text: The answer, or None when the request failed.
        finish_reason: ``"stop"`` or ``"length"``.
        prompt_tokens: Tokens of the prompt, 0 where the engine does not say.
        completion_tokens: Tokens of the answer, 0 where the engine does not say.
        failure: Why there is no answer. A failure is counted, never kept: the next run asks again.
    """

    key: bytes
    text: str | None
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failure: str | None = None


class Backend(Protocol):
    """An engine behind the replay.

    Attributes:
        name: Its name, as it stands in the ``generator`` column.
    """

    name: str

    def version(self) -> str:
        """Return the engine's version."""
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of what the engine runs on."""
        ...

    def recovered(self) -> Iterator[tuple[Sampling, Result]]:
        """Yield answers an earlier run left behind and how they were drawn, before anything is asked."""
        ...

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Answer requests, in any order; a None says that nothing else has finished yet, so that this can be committed.

        The requests are drawn lazily: a backend that works in batches takes a batch at a time. Every request gets one
        result. Requests are drawn in the caller's thread only.

        Raises:
            ModelError: If the engine cannot be used at all; what has finished was yielded before.
        """
        ...

    def close(self) -> None:
        """Stop the engine; a second call does nothing."""
        ...
