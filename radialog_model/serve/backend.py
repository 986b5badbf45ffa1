"""What answers behind the server: transformers in this process, or a vLLM server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from radialog_model.generate import Prompt, Sampling
from radialog_model.serve.images import SentImage


@dataclass(frozen=True)
class Piece:
    """Part of an answer.

    Attributes:
        text: What comes next; the pieces of an answer join to it.
        finish: ``stop`` or ``length`` in the last piece, else None.
        new_tokens: Tokens of the whole answer, in the last piece.
        prompt_tokens: Tokens of the prompt, in the last piece.
    """

    text: str
    finish: str | None = None
    new_tokens: int = 0
    prompt_tokens: int = 0


class Backend(Protocol):
    """Answers prompts."""

    @property
    def context(self) -> int:
        """Most tokens of a prompt and its answer together."""
        ...

    def stream(self, prompt: Prompt, image: SentImage, sampling: Sampling) -> AsyncIterator[Piece]:
        """Answer; the answer is given up when the iteration is.

        Raises:
            ApiError: If it cannot be answered.
        """
        ...

    def healthy(self) -> bool:
        """Whether requests would be answered now."""
        ...

    async def close(self) -> None:
        """Let go of what is held."""
        ...
