"""What the bench and a model say to each other: messages, requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

from radialog_instruct.files import file_sha256
from radialog_instruct.records import Role

FailureKind = Literal["adapter", "contract", "timeout", "image", "missing", "context"]
"""Why a request has no answer: the adapter raised, broke its contract or hung, the image could not be read, a
predictions folder holds no answer for it, or the dialog does not fit the model's context."""
MESSAGE_LIMIT = 2000
"""Characters of a failure's message that are kept. Answers are kept whole, however long."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialog as plain text; images travel beside the messages, never inside them."""

    role: Role
    content: str


@dataclass(frozen=True)
class ImageRef:
    """An image a request is about.

    Attributes:
        image_id: The source's name of the image.
        path: Where the file lies.
    """

    image_id: str
    path: Path

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the file's bytes; remembered, for a dialog asks about its image many times.

        Raises:
            OSError: If the file cannot be read.
        """
        state = self.path.stat()
        return _sha256_of(self.path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 14)
def _sha256_of(path: Path, modified: int, size: int) -> str:
    del modified, size  # part of the key only: a file that changed is read again
    return file_sha256(path)


@dataclass(frozen=True, slots=True)
class Generation:
    """Decoding settings. The paper decodes greedily with up to 300 new tokens."""

    max_new_tokens: int = 300
    temperature: float = 0.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model: a dialog that ends with a user turn.

    Attributes:
        id: Unique within the run: evaluation, study, image and turn.
        task: Name of the instruct task the last user turn belongs to, for example ``"report_generation"``.
        turn: Name of the turn's role in its evaluation, for example ``"report"`` or ``"view"``.
        messages: The dialog so far in neutral wording, without image markers and without predicted findings.
        images: The images; they belong to the first user turn.
        generation: Decoding settings.
        indication: The clinical indication where the run gives it to the model, else None; it stands in the first
            message already, and is given apart for adapters that write their own prompts.
        choices: The answers that the question allows, where it names them.
    """

    id: str
    task: str
    turn: str
    messages: tuple[Message, ...]
    images: tuple[ImageRef, ...] = ()
    generation: Generation = Generation()
    indication: str | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError(f"request {self.id} must end with a user message")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class Response:
    """A model's answer to one request, or the reason why there is none.

    Attributes:
        id: The request's id; answers may come in any order and are matched by it.
        text: The answer. None exactly when ``error`` is set: a failure is never text.
        error: The failure, or None.
        usage: Token counts or timings the adapter knows, for example ``{"new_tokens": 57}``.
        notes: What the adapter wants logged beside the answer, for example what it predicted before it asked.
    """

    id: str
    text: str | None = None
    error: Failure | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def failure(cls, id: str, kind: FailureKind, message: str) -> Response:
        """Build the response of a request that failed; a message as long as a model's weights is cut."""
        readable = message[:MESSAGE_LIMIT].encode("utf-8", "replace").decode()
        return cls(id=id, error=Failure(kind, readable + ("…" if len(message) > MESSAGE_LIMIT else "")))
