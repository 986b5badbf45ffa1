"""Micro-batches as the model takes them: padded side by side, or packed into one sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from radialog_model.data.encode import IGNORED, DialogEncoder, Encoded
from radialog_model.data.plan import Plan
from radialog_model.data.rows import Row

Batch = dict[str, Tensor]


class MicroBatches(torch.utils.data.Dataset[Batch]):
    """The micro-batches of a plan, each made when it is asked for.

    Args:
        rows: The rows.
        plan: Which rows stand together.
        encoder: Makes token ids of a row.
        pixels: Image paths -> [n, ...], pixels or the features of a frozen tower; None for training without images.
        pad: Id of the padding token.
        packed: Put the rows one behind the other into one sequence instead of padding them.
        seed: Seed of context dropping.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        plan: Plan,
        encoder: DialogEncoder,
        pixels: Callable[[Sequence[str]], Tensor] | None,
        *,
        pad: int,
        packed: bool,
        seed: int,
    ) -> None:
        self._rows, self._plan, self._encoder, self._pixels = rows, plan, encoder, pixels
        self._pad, self._packed, self._seed = pad, packed, seed

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        """Return a micro-batch; see ``padded`` and ``packed`` for its tensors."""
        micro = self._plan[index]
        rows = [self._rows[i] for i in micro.rows]
        encoded = [self._encoder.row(row, epoch=micro.epoch, seed=self._seed) for row in rows]
        batch = packed(encoded) if self._packed else padded(encoded, self._pad)
        if self._pixels is not None:
            batch["pixel_values"] = self._pixels([row.image for row in rows])
        return batch


def padded(rows: Sequence[Encoded], pad: int) -> Batch:
    """Put rows under each other, padded on the left, so that all answers end together.

    Answers at the end let the last layer compute logits for few positions only.

    Returns:
        input_ids, labels, attention_mask and position_ids, each [rows, longest].
    """
    length = max(len(row.ids) for row in rows)

    def left(values: list[int], fill: int) -> list[int]:
        return [fill] * (length - len(values)) + values

    mask = torch.tensor([left([1] * len(row.ids), 0) for row in rows])
    return {
        "input_ids": torch.tensor([left(row.ids, pad) for row in rows]),
        "labels": torch.tensor([left(row.labels, IGNORED) for row in rows]),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
    }


def packed(rows: Sequence[Encoded]) -> Batch:
    """Put rows one behind the other; positions begin anew with each, which is how attention is kept apart.

    There is no attention mask: transformers reads the borders from the positions, and only without one and without a
    cache of keys and values. With a cache it would let the rows see each other, silently.

    Returns:
        input_ids, labels and position_ids, each [1, all tokens]. The first label of a row is never a target, because
        the token before it belongs to another row.
    """
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.ids]]),
        "labels": torch.tensor([[label for row in rows for label in (IGNORED, *row.labels[1:])]]),
        "position_ids": torch.tensor([[position for row in rows for position in range(len(row.ids))]]),
    }


def only(batches: list[Batch]) -> Batch:
    """Collate one micro-batch: it is complete already.

    Raises:
        ValueError: If the loader was told to join several.
    """
    (batch,) = batches
    return batch


def measure(encoder: DialogEncoder, rows: Sequence[Row], *, epoch: int, seed: int) -> list[int]:
    """Return the number of tokens of each row in an epoch."""
    return [len(encoder.row(row, epoch=epoch, seed=seed).ids) for row in rows]
