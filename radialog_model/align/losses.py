"""Contrastive loss and hard negatives of the first stage, over the batches of all processes.

Two images of one study share their report. Pairs of the same report are each other's positives and never negatives;
where every report of a batch stands once, this is the published loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 1e-4
"""Added to each negative's probability, so that even the least similar one may be drawn."""


def similarity(images: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine of each image with each text, over the query that fits best.

    Args:
        images: [n, queries, dim], normalised.
        texts: [m, dim], normalised.

    Returns:
        [n, m].
    """
    return torch.einsum("nqd,md->nmq", images, texts).amax(-1)


def soft_cross_entropy(logits: Tensor, same: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy of rows with several right answers.

    Args:
        logits: [n, m].
        same: [n, m], true where the answer is right; at least one in each row.
        smoothing: Share of the target that goes to all answers alike.
    """
    target = same.to(logits.dtype)
    target = (1 - smoothing) * target / target.sum(1, keepdim=True) + smoothing / logits.shape[1]
    return -(target * logits.log_softmax(1)).sum(1).mean()


def draw_negatives(scores: Tensor, same: Tensor, seed: int | None) -> tuple[Tensor, Tensor]:
    """Choose one negative for each row, the more similar the likelier.

    Args:
        scores: [n, m], similarities over the temperature.
        same: [n, m], true where a column is no negative.
        seed: Seed of the draw; None takes the most similar negative.

    Returns:
        The chosen columns [n], and which rows have a negative at all [n].
    """
    weights = (scores.float().softmax(1) + FLOOR).masked_fill(same, 0)
    there = weights.sum(1) > 0
    if seed is None:
        return weights.argmax(1), there
    generator = torch.Generator(device=weights.device).manual_seed(seed)
    weights = torch.where(there[:, None], weights, torch.ones_like(weights))
    return torch.multinomial(weights, 1, generator=generator)[:, 0], there
