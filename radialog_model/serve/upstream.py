"""A vLLM server behind this one: it gets the published prompt as chat messages and the image as it was read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from radialog_instruct.errors import ModelError
from radialog_model.checkpoint import Checkpoint
from radialog_model.generate import Prompt, Sampling, context_of
from radialog_model.prompts import IMAGE_TOKEN, layout
from radialog_model.serve.backend import Piece
from radialog_model.serve.errors import ApiError
from radialog_model.serve.images import SentImage

if TYPE_CHECKING:
    import httpx2

_SECONDS = 600.0


class Upstream:
    """An OpenAI-compatible server that runs the same checkpoint.

    Args:
        checkpoint: The checkpoint; its tokenizer says what the prompt begins with.
        url: Address of the server up to and including ``/v1``.
        key: Its API key, or None.
        alive: Whether the server's process, where it is ours, still runs.

    Raises:
        ModelError: If the server does not answer or lists no model.
    """

    def __init__(
        self, checkpoint: Checkpoint, url: str, *, key: str | None = None, alive: Callable[[], bool] = lambda: True
    ) -> None:
        import httpx2

        self._checkpoint, self._url, self._alive = checkpoint, url.rstrip("/"), alive
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._model, limit = _served_model(self._url, headers)
        own = context_of(checkpoint)
        self._context = own if limit is None else min(own, limit)
        # No redirects: the server that was named must not hand images on to another.
        self._client = httpx2.AsyncClient(headers=headers, timeout=_SECONDS, follow_redirects=False)

    @property
    def context(self) -> int:
        """Tokens of the model's context, or of the server's where it was given a smaller one."""
        return self._context

    async def stream(self, prompt: Prompt, image: SentImage, sampling: Sampling) -> AsyncIterator[Piece]:
        """Answer; the request is given up when the iteration is.

        Raises:
            ApiError: If the server refuses, fails or is gone.
        """
        import httpx2

        said, finish = "", "stop"
        usage: dict[str, Any] = {}
        body = await asyncio.to_thread(self._body, prompt, image, sampling)  # compresses the image
        try:
            async with self._client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code, await response.aread())
                async for event in _events(response):
                    usage = event.get("usage") or usage
                    for choice in event.get("choices", ()):
                        finish = choice.get("finish_reason") or finish
                        new = (choice.get("delta") or {}).get("content") or ""
                        # Blanks around an answer belong to the layout, not to the answer.
                        shown = (said + new).strip()
                        if len(shown) > len(said.strip()):
                            yield Piece(shown[len(said.strip()) :])
                        said += new
        except httpx2.HTTPError as error:
            raise ApiError(f"the vLLM server failed ({type(error).__name__})", status=502) from None
        finish = "length" if finish == "length" else "stop"
        yield Piece("", finish, int(usage.get("completion_tokens", 0)), int(usage.get("prompt_tokens", 0)))

    def healthy(self) -> bool:
        """Whether the server's process still runs, as far as that is known."""
        return self._alive()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _body(self, prompt: Prompt, image: SentImage, sampling: Sampling) -> dict[str, Any]:
        question = prompt.question
        room = self._context - len(prompt.ids)
        return {
            "model": self._model,
            "messages": published_messages(self._checkpoint, prompt, image),
            "max_tokens": min(sampling.max_new_tokens, room),
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            "stop": list(sampling.stop) or None,
            "stream": True,
            "stream_options": {"include_usage": True},
            "add_generation_prompt": question.turns[-1].role == "user",
        }


def published_messages(checkpoint: Checkpoint, prompt: Prompt, image: SentImage) -> list[dict[str, Any]]:
    """Return a dialog as a server's chat template turns it into the very prompt that transformers gets.

    The template writes no beginning-of-sequence token, so it stands before the system sentence. The image stands where
    the layout has its placeholder; there is one only, for in a fitted prompt special tokens of users are taken apart.
    """
    question = prompt.question
    chat = layout(question.turns, question.findings, variant=checkpoint.variant)
    system, first, *rest = chat
    before, _, after = first["content"].partition(IMAGE_TOKEN)
    parts: list[dict[str, Any]] = [{"type": "text", "text": before}] if before else []
    parts += [{"type": "image_url", "image_url": {"url": image.url()}}, {"type": "text", "text": after}]
    start = checkpoint.processor.tokenizer.bos_token or ""
    return [{"role": "system", "content": start + system["content"]}, {"role": "user", "content": parts}, *rest]


def _served_model(url: str, headers: dict[str, str]) -> tuple[str, int | None]:
    """Return the model's name and the context it is served with, where the server says so."""
    import httpx2

    mend = "check --upstream, and that the server is up"
    try:
        response = httpx2.get(f"{url}/models", headers=headers, timeout=20.0)
        model: dict[str, Any] = response.raise_for_status().json()["data"][0]
        name, limit = str(model["id"]), model.get("max_model_len")
        return name, None if limit is None else int(limit)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ModelError(f"the server does not answer ({type(error).__name__})", where=url, mend=mend) from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError("the server lists no model", where=url, mend=mend) from error


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if not line.startswith("data:") or line[5:].strip() == "[DONE]":
            continue
        try:
            event: dict[str, Any] = json.loads(line[5:])
        except ValueError:
            raise ApiError("the vLLM server's answer is no event stream", status=502) from None
        if "error" in event:
            raise ApiError(f"the vLLM server failed: {event['error']}"[:500], status=502)
        yield event


def _refusal(status: int, content: bytes) -> ApiError:
    text = " ".join(content.decode("utf-8", "replace").split())[:500]
    return ApiError(f"the vLLM server refuses with status {status}: {text}", status=status if status == 429 else 502)
