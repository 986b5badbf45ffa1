"""Which rows stand together in which micro-batch, for all epochs of a run, decided before its first step.

The order depends on the seed alone, so a resumed run takes the same micro-batches as an undisturbed one, and every
rank can take its own without telling the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Grouping = Literal["random", "length", "packed"]
_WINDOW = 100
"""Micro-batches whose rows are sorted together: enough to find equal lengths, few enough to keep the order random."""
Lengths = NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Attributes:
        epoch: The epoch, which decides how contexts are dropped.
        rows: Indices of the rows.
    """

    epoch: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Plan(Sequence[MicroBatch]):
    """The micro-batches of a run in their order.

    Attributes:
        batches: The micro-batches.
        epoch_ends: For each epoch the number of micro-batches up to its end.
        left_out: Rows that are longer than the longest sequence, in any epoch.
        fill: Real tokens over all tokens that are computed, padding included.
    """

    batches: tuple[MicroBatch, ...]
    epoch_ends: tuple[int, ...]
    left_out: tuple[int, ...]
    fill: float

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> MicroBatch:  # type: ignore[override]
        return self.batches[index]


def make_plan(
    lengths: Callable[[int], Lengths],
    *,
    epochs: int,
    repeats: Sequence[int],
    grouping: Grouping,
    batch_size: int,
    longest: int,
    seed: int,
) -> Plan:
    """Plan a run.

    Args:
        lengths: Epoch -> number of tokens of each row after that epoch's draw of context dropping.
        epochs: Number of epochs.
        repeats: How often an epoch shows each row.
        grouping: ``random`` rows; rows of like ``length``; or ``packed``, as many as fit into one sequence.
        batch_size: Rows of a micro-batch; not used by ``packed``.
        longest: Most tokens of a row, and of a packed sequence.
        seed: Seed of the order.
    """
    batches: list[MicroBatch] = []
    ends, left_out, real, computed = [], set[int](), 0, 0
    for epoch in range(epochs):
        sizes = lengths(epoch)
        left_out.update(np.flatnonzero(sizes > longest).tolist())
        order = np.repeat(np.arange(len(sizes)), repeats)
        order = order[sizes[order] <= longest]
        generator = np.random.Generator(np.random.PCG64([seed, epoch]))
        order = generator.permutation(order)
        groups = _packed(order, sizes, longest) if grouping == "packed" else _equal(order, sizes, batch_size, grouping)
        chosen = list(groups)
        batches += [MicroBatch(epoch, tuple(chosen[i])) for i in generator.permutation(len(chosen))]
        ends.append(len(batches))
        real += int(sizes[order].sum())
        padded = sum(int(sizes[g].sum()) if grouping == "packed" else len(g) * int(sizes[g].max()) for g in chosen)
        computed += padded
    return Plan(tuple(batches), tuple(ends), tuple(sorted(left_out)), real / max(computed, 1))


def _equal(order: Lengths, sizes: Lengths, batch_size: int, grouping: Grouping) -> Iterator[list[int]]:
    window = batch_size * _WINDOW if grouping == "length" else len(order) or 1
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        if grouping == "length":
            rows = rows[np.argsort(-sizes[rows], kind="stable")]
        for first in range(0, len(rows), batch_size):
            yield rows[first : first + batch_size].tolist()


def _packed(order: Lengths, sizes: Lengths, longest: int) -> Iterator[list[int]]:
    """First fit decreasing within a window of about a hundred sequences."""
    if not len(order):
        return
    window = max(int(longest / max(sizes[order].mean(), 1)) * _WINDOW, 1)
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        packs: list[list[int]] = []
        room = np.zeros(0, dtype=np.int64)
        for row in rows[np.argsort(-sizes[rows], kind="stable")].tolist():
            fits = np.flatnonzero(room >= sizes[row])
            if len(fits):
                packs[fits[0]].append(row)
                room[fits[0]] -= sizes[row]
            else:
                packs.append([row])
                room = np.append(room, longest - sizes[row])
        yield from packs
