"""A key-value cache of slots: each row of a running batch stands at a position of its own.

transformers' caches hold rows of one length, padded on the left. Here a row starts at position 0, whatever stands
beside it: rows come and go while the others go on, and nothing is computed for padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin

LayerStates = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer, [rows, heads, length, head_dim]."""


@dataclass
class _Place:
    """Where the next token of each row belongs; shared by all layers of a cache."""

    rows: Tensor
    positions: Tensor
    span: int


class _SlotLayer(CacheLayerMixin):
    is_sliding = False
    is_compileable = True
    keys: Tensor
    values: Tensor

    def __init__(self, like: Tensor, slots: int, length: int, place: _Place, *, static: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        _, heads, _, dim = like.shape
        self.keys = like.new_zeros(slots, heads, length, dim)
        self.values = like.new_zeros(slots, heads, length, dim)
        self._place, self._length = place, length
        self.is_initialized = True
        if static:  # a captured CUDA graph reads and writes these very buffers
            torch._dynamo.mark_static_address(self.keys)
            torch._dynamo.mark_static_address(self.values)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the buffers are there from the start."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Write one token a row, [rows, heads, 1, head_dim], and return what all rows may look at."""
        place, n = self._place, key_states.shape[0]
        self.keys[place.rows, :, place.positions] = key_states[:, :, 0]
        self.values[place.rows, :, place.positions] = value_states[:, :, 0]
        return self.keys[:n, :, : place.span], self.values[:n, :, : place.span]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002
        """Return the span of the step; the mask is given with it."""
        return self._place.span, 0

    def get_seq_length(self) -> int:
        """Return the span of the step."""
        return self._place.span

    def get_max_length(self) -> int:
        """Return the longest row in tokens."""
        return self._length


class SlotCache(Cache):
    """Buffers for ``slots`` rows of up to ``length`` tokens; rows in use stand in front.

    Args:
        like: Keys and values of a prefilled batch: their heads, sizes, type and device are taken over.
        slots: Most rows.
        length: Most tokens a row.
        static: Whether the step is compiled for these buffers.
    """

    def __init__(self, like: LayerStates, slots: int, length: int, *, static: bool = False) -> None:
        self._idle = torch.zeros(0, dtype=torch.long, device=like[0][0].device)
        self._place = _Place(self._idle, self._idle, 0)
        self._slot_layers = [_SlotLayer(keys, slots, length, self._place, static=static) for keys, _ in like]
        super().__init__(layers=list(self._slot_layers))

    def aim(self, rows: Tensor, positions: Tensor, span: int) -> None:
        """Say where the next step's tokens go.

        Args:
            rows: [n] slots, 0 to n - 1.
            positions: [n] position of each row's token.
            span: Positions that attention looks at; beyond the largest position.
        """
        self._place.rows, self._place.positions, self._place.span = rows, positions, span

    def rest(self) -> None:
        """Forget the last ``aim``: a compiled step must leave nothing of its own behind."""
        self._place.rows = self._place.positions = self._idle

    def insert(self, states: LayerStates, first: int) -> None:
        """Fill slots from ``first`` on with prefilled rows."""
        for buffers, pair in zip(self._buffers(), states, strict=True):
            for buffer, new in zip(buffers, pair, strict=True):
                buffer[first : first + new.shape[0], :, : new.shape[2]] = new

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` tokens of a slot to another."""
        for buffers in self._buffers():
            for buffer in buffers:
                buffer[target, :, :length] = buffer[source, :, :length]

    def row(self, slot: int, length: int) -> LayerStates:
        """Return a copy of a slot's first ``length`` tokens."""
        return tuple(
            (keys[slot : slot + 1, :, :length].clone(), values[slot : slot + 1, :, :length].clone())
            for keys, values in self._buffers()
        )

    def _buffers(self) -> LayerStates:
        return tuple((layer.keys, layer.values) for layer in self._slot_layers)


def states_of(cache: DynamicCache) -> LayerStates:
    """Return the keys and values of a cache."""
    return tuple((keys, values) for keys, values, _ in cache)


def past_of(states: LayerStates, rows: int, length: int) -> DynamicCache:
    """Return a cache in which ``rows`` rows share the first ``length`` tokens of one prefilled row."""
    shared = [
        (keys[:, :, :length].expand(rows, -1, -1, -1), values[:, :, :length].expand(rows, -1, -1, -1))
        for keys, values in states
    ]
    return DynamicCache(shared)


def common_prefix(sequences: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens all sequences begin with."""
    shortest, longest = min(sequences), max(sequences)
    for place, (one, other) in enumerate(zip(shortest, longest, strict=False)):
        if one != other:
            return place
    return min(len(shortest), len(longest))
