"""A deterministic fake: answers made from the request, for dry runs and tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.request import ReplayRequest, Sampling

_SENTENCE = re.compile(r"[^.!?]+[.!?]")


class EchoBackend:
    """Answers with the first sentences of the request's last message; a choice is answered with its first option."""

    name = "echo"

    def version(self) -> str:
        """Return this distribution's version."""
        return version("radialog")

    def versions(self) -> dict[str, str]:
        """Return nothing: it runs on nothing."""
        return {}

    def recovered(self) -> Iterator[tuple[Sampling, Result]]:
        """Yield nothing."""
        return iter(())

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Answer every request at once."""
        for request in requests:
            text = self._answer(request)
            prompt = sum(len(turn.content.split()) for turn in request.ask.messages)
            yield Result(request.key, text, "stop", prompt, len(text.split()))

    def close(self) -> None:
        """Do nothing."""

    def _answer(self, request: ReplayRequest) -> str:
        if request.ask.choices:
            return request.ask.choices[0]
        sentences = _SENTENCE.findall(request.ask.messages[-1].content)
        words = " ".join(" ".join(sentences[: 2 + request.attempt]).split()[: request.sampling.max_tokens])
        return f"No, {words}" if request.ask.regex else words
