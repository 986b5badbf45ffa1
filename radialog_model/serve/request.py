"""A chat completion request, checked: one image in the first user message, turns that alternate, one greedy choice."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from radialog_instruct.records import Turn
from radialog_model.generate import Sampling
from radialog_model.serve.errors import ApiError

OFF = "off"
PREDICTED = "predicted"
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
}
"""Fields that would change an answer, and the values that do not."""


class _Fields(BaseModel):
    """A field that is null is as if absent: OpenAI's clients send both."""

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, values: Any) -> Any:
        return {key: v for key, v in values.items() if v is not None} if isinstance(values, dict) else values


class _ImageUrl(BaseModel):
    url: str


class _Part(BaseModel):
    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: _ImageUrl | None = None


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]


class _StreamOptions(_Fields):
    include_usage: bool = False


class ChatBody(_Fields):
    """The fields of OpenAI's chat completions that are used, and ``findings``, which is ours."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[_Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    stop: str | list[str] | None = None
    seed: int = 0
    stream: bool = False
    stream_options: _StreamOptions | None = None
    findings: str = PREDICTED
    """Findings text of the prompt: ``predicted``, ``off``, or the text itself."""

    def sampling(self, default: int) -> Sampling:
        """Return how to decode; ``default`` tokens where the request names no limit."""
        limit = self.max_completion_tokens or self.max_tokens or default
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(limit, self.temperature, tuple(stop for stop in stops if stop), self.seed)

    def turns(self) -> tuple[Turn, ...]:
        """Return the dialog's text, without the image.

        Raises:
            ApiError: If its roles do not alternate from a user's to a user's.
        """
        for place, message in enumerate(self.messages):
            if message.role in ("system", "developer"):
                what = "system messages are not taken: the model's own system sentence is part of its prompt"
                raise ApiError(what, param=f"messages.{place}.role")
            expected = ("user", "assistant")[place % 2]
            if message.role != expected:
                raise ApiError(f"message {place} must be of the role {expected}", param=f"messages.{place}.role")
        if len(self.messages) % 2 == 0:
            raise ApiError("the last message must be the user's", param="messages")
        return tuple(Turn("user" if m.role == "user" else "assistant", _text(m)) for m in self.messages)

    def image_url(self) -> str:
        """Return where the image is.

        Raises:
            ApiError: If there is not exactly one, in the first message.
        """
        found = [
            (place, part.image_url)
            for place, message in enumerate(self.messages)
            if not isinstance(message.content, str)
            for part in message.content
            if part.type == "image_url"
        ]
        if len(found) != 1:
            what = f"{len(found) or 'no'} image{'s' if len(found) > 1 else ''}: the model talks about exactly one"
            raise ApiError(f"{what}, sent in the first user message", param="messages", code="image_count")
        place, image = found[0]
        if place != 0:
            raise ApiError("the image belongs into the first user message", param=f"messages.{place}")
        if image is None:
            raise ApiError("image_url is missing", param="messages.0.content")
        return image.url


def parse_body(content: bytes) -> ChatBody:
    """Read a request's body.

    Raises:
        ApiError: If it is not JSON, a field is wrong, or one asks for what the model cannot do.
    """
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not JSON ({error})", code="invalid_json") from None
    try:
        body = ChatBody.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ApiError(f"{field or 'body'}: {first['msg']}", param=field or None) from None
    for name, harmless in _UNSUPPORTED.items():
        value = (body.model_extra or {}).get(name)
        if value is not None and value not in harmless:
            raise ApiError(f"{name} is not supported", param=name, code="unsupported_parameter")
    return body


def _text(message: _Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text or "" for part in message.content if part.type == "text")
