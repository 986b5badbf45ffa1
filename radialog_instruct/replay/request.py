"""What is asked of the LLM, and the key under which its answer is kept.

The key covers everything the answer depends on and nothing else: not the server's address, the batch, the number of
workers, a timeout or the engine's version, which is recorded beside the answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field

from radialog_instruct.records import ReplayAsk

KEY_VERSION = 1
"""Raised when the canonical form of a request changes; older answers are then not found."""
KEY_BYTES = 32


class ModelIdentity(BaseModel):
    """Which LLM answers.

    Attributes:
        model: A repository's name, or the name of a local folder.
        revision: Commit of the repository, or a digest of the folder's files; it pins weights, tokenizer and template.
        chat_template: Hash of a chat template that replaces the model's own, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    revision: str
    chat_template: str | None = None


class Sampling(BaseModel):
    """How an answer is drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus.
        max_tokens: New tokens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0)

    @property
    def hash(self) -> str:
        """The hexadecimal hash that stands in the ``generator`` column."""
        return sha256(_canonical(self.model_dump()).encode()).hexdigest()[:16]


class ReplayPolicy(BaseModel):
    """Everything that decides which requests are made for a dataset and which answers are taken.

    Attributes:
        identity: The LLM.
        temperature: Temperature of the first request; the default is greedy.
        retry_temperature: Temperature of further requests: a greedy answer would come again word for word.
        top_p: Nucleus.
        attempts: Requests a sample may cost before it is given up.
        judge: Whether the LLM is asked about every answer that passed the other checks.
        structured: Whether yes/no answers are held to their form by the engine.
        judge_labeler: The labeler that reads findings in drafts and answers; a build with another one would reject
            what this one accepted, and ask for what nobody has answered.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: ModelIdentity
    temperature: float = Field(default=0.0, ge=0, le=2)
    retry_temperature: float = Field(default=0.7, gt=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    attempts: int = Field(default=3, ge=1, le=20)
    judge: bool = False
    structured: bool = True
    judge_labeler: str = "rules"

    def request(self, ask: ReplayAsk, attempt: int, *, longer: int = 1) -> ReplayRequest:
        """Return the request of an attempt.

        Args:
            ask: What is asked.
            attempt: Index of the attempt, from 0.
            longer: Factor on the new tokens, after an answer that was cut off.
        """
        if not self.structured:
            ask = ReplayAsk(ask.messages, ask.max_tokens)
        temperature = self.temperature if attempt == 0 else max(self.temperature, self.retry_temperature)
        sampling = Sampling(temperature=temperature, top_p=self.top_p, max_tokens=ask.max_tokens * longer)
        return ReplayRequest(self.identity, ask, sampling, attempt)


@dataclass(frozen=True)
class ReplayRequest:
    """One request.

    Attributes:
        identity: The LLM.
        ask: Messages and form of the answer.
        sampling: How it is drawn.
        attempt: Index of the attempt; it tells re-asks apart.
    """

    identity: ModelIdentity
    ask: ReplayAsk
    sampling: Sampling
    attempt: int

    @cached_property
    def key(self) -> bytes:
        """SHA-256 of the request's canonical JSON, 32 bytes."""
        identity, ask, sampling = self.identity, self.ask, self.sampling
        canonical = {
            "v": KEY_VERSION,
            "model": identity.model,
            "revision": identity.revision,
            "chat_template": identity.chat_template,
            "messages": self.messages,
            "sampling": [sampling.temperature, sampling.top_p, sampling.max_tokens],
            "schema": {"regex": ask.regex, "choice": list(ask.choices)},
            "attempt": self.attempt,
        }
        return sha256(_canonical(canonical).encode()).digest()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages as every chat interface takes them."""
        return [{"role": turn.role, "content": turn.content} for turn in self.ask.messages]

    @property
    def structure(self) -> dict[str, object]:
        """The form of the answer in vLLM's words; empty for free text."""
        if self.ask.choices:
            return {"choice": list(self.ask.choices)}
        return {"regex": self.ask.regex} if self.ask.regex else {}

    def body(self, model: str) -> dict[str, object]:
        """Return the body of an OpenAI chat completion.

        It holds no seed: engines do not promise the same text for it, and a seed of each request's own costs them their
        batched sampling. What makes a build repeatable is the cache.

        Args:
            model: The name under which the server knows the model.
        """
        body: dict[str, object] = {
            "model": model,
            "messages": self.messages,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_tokens,
        }
        return {**body, "structured_outputs": self.structure} if self.structure else body


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
