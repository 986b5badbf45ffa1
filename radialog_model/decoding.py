"""The decoding loop: a running batch that prompts enter as soon as answers leave it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from radialog_instruct.errors import ModelError
from radialog_model.attention import grouped
from radialog_model.slots import LayerStates, SlotCache, common_prefix, past_of, states_of

PREFILL_TOKENS = 4096
"""Most tokens, padding included, that are prefilled at once."""
SHARED_AT_LEAST = 32
"""A common beginning of fewer tokens is not worth a pass of its own."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of a sequence, for a prompt that begins like it.

    Attributes:
        ids: Its tokens.
        image_key: Identity of the image whose features stand at its placeholders.
        states: Keys and values, one row.
    """

    ids: tuple[int, ...]
    image_key: str | None
    states: LayerStates


@dataclass(frozen=True, eq=False)
class Job:
    """A prompt, ready for the model.

    Attributes:
        ids: Token ids; an image takes one placeholder a feature.
        features: [placeholders, hidden] image features, or None.
        image_key: Identity of the image.
        limit: Most new tokens, at least 1.
        temperature: 0 takes the arg max.
        seed: Seed of sampling, where the temperature is above 0.
        stops: An answer ends once its text holds one of these.
        prefix: What is computed already of a sequence that begins likewise.
        keep: Whether the row shall leave such a prefix behind for what follows it.
    """

    ids: tuple[int, ...]
    features: Tensor | None
    image_key: str | None
    limit: int
    temperature: float = 0.0
    seed: int = 0
    stops: tuple[str, ...] = ()
    prefix: Prefix | None = None
    keep: bool = False


@dataclass(eq=False)
class Row:
    """A job under way.

    Attributes:
        job: The job.
        new: Tokens of the answer so far, without the end of sequence.
        done: Why it ended: ``stop`` or ``length``; None while it goes on.
        cancelled: Set by whoever no longer wants the answer.
        prefix: What was computed, once the row has ended and its job says ``keep``.
    """

    job: Job
    new: list[int] = field(default_factory=list)
    done: str | None = None
    cancelled: bool = False
    prefix: Prefix | None = None
    sampler: torch.Generator | None = None

    @property
    def position(self) -> int:
        """Position of the token that is read next."""
        return len(self.job.ids) + len(self.new) - 1


class Decoder:
    """A running batch over one model.

    A row does not depend on what stands beside it but for the rounding of the matrix products: in 32 bits the texts are
    those of each prompt alone.

    Args:
        model: A LLaVA: ``model.model`` gives hidden states, ``model.lm_head`` logits.
        tokenizer: Its tokenizer; an end-of-sequence token ends an answer.
        slots: Most rows at a time.
        length: Most tokens a row, prompt and answer.
        refill: Rows that must be free before waiting prompts enter a batch that runs.
        compile: Compile the step for fixed shapes; on a GPU it is captured as a CUDA graph.

    Raises:
        ModelError: If the language model does not attend to all earlier tokens in every layer.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, slots: int, length: int, refill: int = 1, compile: bool = False
    ) -> None:
        kinds = set(getattr(model.config.text_config, "layer_types", None) or ()) - {"full_attention"}
        if kinds:
            raise ModelError(f"attention of the kind {', '.join(sorted(kinds))} is not supported", where="the model")
        self._model, self._tokenizer = model, tokenizer
        self._slots, self._length, self._refill = slots, length, refill
        self._fixed = compile
        self._cache: SlotCache | None = None
        self._rows: list[Row] = []
        self._step = self._hidden_step
        if compile:
            mode = "reduce-overhead" if model.device.type == "cuda" else "default"
            self._step = torch.compile(self._hidden_step, mode=mode, fullgraph=True)

    @property
    def running(self) -> tuple[Row, ...]:
        """The rows under way."""
        return tuple(self._rows)

    @property
    def free(self) -> int:
        """Slots without a row."""
        return self._slots - len(self._rows)

    def fits(self, job: Job) -> bool:
        """Whether a row can hold a job."""
        return len(job.ids) + job.limit <= self._length

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Row]]:
        """Answer jobs; each must fit.

        Yields:
            A job and its finished row, in the order in which they end.
        """
        waiting = deque(_ordered(list(jobs)))
        while waiting or self._rows:
            if waiting and (not self._rows or self.free >= min(self._refill, self._slots)):
                for row in self.admit([waiting.popleft() for _ in range(min(self.free, len(waiting)))]):
                    yield row.job, row
            for row in self.step():
                yield row.job, row

    @torch.inference_mode()
    def admit(self, jobs: Sequence[Job]) -> list[Row]:
        """Prefill jobs into free slots and take the first token of each.

        Returns:
            Those of the new rows that ended at once.
        """
        assert len(jobs) <= self.free
        for group in _groups(jobs):
            self._enter(group)
        return self._leave()

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Add a token to each row.

        Returns:
            The rows that ended; their slots are free.
        """
        if not self._rows:
            return []
        assert self._cache is not None
        device = self._model.device
        tokens = [row.new[-1] for row in self._rows]
        positions = [row.position for row in self._rows]
        span = max(positions) + 1
        if self._fixed:
            idle = self._slots - len(self._rows)
            tokens, positions, span = tokens + [0] * idle, positions + [0] * idle, self._length
        with grouped(self._model.config.text_config):
            logits = self._step(torch.tensor(tokens, device=device), torch.tensor(positions, device=device), span)
        self._extend(self._rows, logits[: len(self._rows)])
        return self._leave()

    def cancel(self) -> None:
        """Drop all rows."""
        self._rows.clear()

    def _hidden_step(self, tokens: Tensor, positions: Tensor, span: int) -> Tensor:
        """Return logits [n, vocabulary] behind one token a row; tokens and positions are [n]."""
        cache = self._cache
        assert cache is not None
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        cache.aim(rows, positions, span)
        seen = torch.arange(span, device=tokens.device)[None, :] <= positions[:, None]
        hidden = self._model.model(
            input_ids=tokens[:, None],
            attention_mask=seen[:, None, None, :],
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        cache.rest()
        logits: Tensor = self._model.lm_head(hidden[:, -1])
        return logits

    def _enter(self, jobs: Sequence[Job]) -> None:
        shared, states = self._shared(jobs)
        longest = max(len(job.ids) for job in jobs)
        embeds = torch.stack([self._embedded(job, longest)[shared:] for job in jobs])
        past = past_of(states, len(jobs), shared) if states is not None else None
        hidden, cache = self._prefill(embeds, shared, past)
        last = torch.tensor([len(job.ids) - 1 - shared for job in jobs], device=embeds.device)
        logits = self._model.lm_head(hidden[torch.arange(len(jobs), device=embeds.device), last])
        if self._cache is None:
            self._cache = SlotCache(cache, self._slots, self._length, static=self._fixed)
        self._cache.insert(cache, len(self._rows))
        rows = [Row(job, sampler=_sampler(job)) for job in jobs]
        self._rows += rows
        self._extend(rows, logits)

    def _shared(self, jobs: Sequence[Job]) -> tuple[int, LayerStates | None]:
        """Return how many tokens need not be computed for each job, and their keys and values."""
        first = jobs[0]
        if first.prefix is not None and first.prefix.image_key == first.image_key:
            same = common_prefix([first.ids, first.prefix.ids])
            return min(same, len(first.ids) - 1), first.prefix.states
        shared = min(common_prefix([job.ids for job in jobs]), min(len(job.ids) for job in jobs) - 1)
        placeholder = self._model.config.image_token_id
        if any(job.image_key != first.image_key for job in jobs) and placeholder in first.ids[:shared]:
            shared = first.ids.index(placeholder)  # what stands there is another image in each
        if len(jobs) == 1 or shared < SHARED_AT_LEAST:
            return 0, None
        _, states = self._prefill(self._embedded(first, shared)[None, :shared], 0, None)
        return shared, states

    def _prefill(self, embeds: Tensor, start: int, past: Any) -> tuple[Tensor, LayerStates]:
        """Run prompts from position ``start`` on; padding on the right is seen by no token of theirs."""
        positions = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]
        output = self._model.model(inputs_embeds=embeds, position_ids=positions, past_key_values=past, use_cache=True)
        return output.last_hidden_state, states_of(output.past_key_values)

    def _embedded(self, job: Job, length: int) -> Tensor:
        """Return the input of a prompt, [max(length, tokens), hidden], padded with token 0 on the right."""
        ids = torch.tensor(job.ids + (0,) * (length - len(job.ids)), device=self._model.device)
        embeds: Tensor = self._model.get_input_embeddings()(ids)
        if job.features is not None:
            at = (ids[: len(job.ids)] == self._model.config.image_token_id).nonzero()[:, 0]
            embeds[at] = job.features.to(embeds.device, embeds.dtype)
        return embeds

    def _extend(self, rows: Sequence[Row], logits: Tensor) -> None:
        for row, best, scores in zip(rows, logits.argmax(-1).tolist(), logits, strict=True):
            token = best if row.sampler is None else _sampled(scores, row.job.temperature, row.sampler)
            if token == self._tokenizer.eos_token_id:
                row.done = "stop"
                continue
            row.new.append(token)
            if row.job.stops and any(stop in self._tokenizer.decode(row.new) for stop in row.job.stops):
                row.done = "stop"
            elif len(row.new) >= row.job.limit:
                row.done = "length"

    def _leave(self) -> list[Row]:
        """Take out the rows that ended; the last row fills the gap."""
        ended = []
        for slot in reversed(range(len(self._rows))):
            row = self._rows[slot]
            if row.done is None and not row.cancelled:
                continue
            ended.append(row)
            assert self._cache is not None
            if row.job.keep:
                ids = (*row.job.ids, *row.new[:-1])
                row.prefix = Prefix(ids, row.job.image_key, self._cache.row(slot, len(ids)))
            last = self._rows.pop()
            if last is not row:
                self._cache.move(len(self._rows), slot, last.position)
                self._rows[slot] = last
        return ended[::-1]


def _ordered(jobs: list[Job]) -> list[Job]:
    """Sort jobs: the longest first, but those about one image beside each other, for they begin alike."""
    need: dict[str | None, int] = {}
    for job in jobs:
        need[job.image_key] = max(need.get(job.image_key, 0), len(job.ids) + job.limit)
    return sorted(jobs, key=lambda job: (-need[job.image_key], job.image_key or "", -len(job.ids) - job.limit))


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Part jobs into those that are prefilled together: bounded by tokens, a given prefix alone."""
    by_image: dict[object, list[Job]] = {}
    for job in jobs:
        by_image.setdefault(job.image_key, []).append(job)
    alone = [group[0] for group in by_image.values() if len(group) == 1 and group[0].prefix is None]
    others = [group for group in by_image.values() if len(group) > 1 or group[0].prefix is not None]
    for group in (alone, *others):
        batch: list[Job] = []
        for job in group:
            if job.prefix is not None:
                yield [job]
                continue
            longest = max(len(other.ids) for other in (*batch, job))
            if batch and longest * (len(batch) + 1) > PREFILL_TOKENS:
                yield batch
                batch = []
            batch.append(job)
        if batch:
            yield batch


def _sampler(job: Job) -> torch.Generator | None:
    """Return a source of randomness that depends on the prompt alone, not on what it is batched with."""
    if job.temperature <= 0:
        return None
    digest = sha256(repr((job.seed, job.ids, job.image_key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _sampled(scores: Tensor, temperature: float, sampler: torch.Generator) -> int:
    shares = torch.softmax(scores.float().cpu() / temperature, -1)
    return int(torch.multinomial(shares, 1, generator=sampler))
