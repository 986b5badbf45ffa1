"""What the first stage is measured by: does an image find its report, and a report its image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from radialog_model.align.losses import draw_negatives, similarity
from radialog_model.align.stage1 import AlignStage1Model

RANKS = (1, 5, 10)


def recall(scores: Tensor, same: Tensor, rank: int) -> float:
    """Return the share of rows that have a right answer among the ``rank`` best columns.

    Args:
        scores: [n, m].
        same: [n, m], true where the answer is right.
        rank: How many answers may be given.
    """
    best = scores.topk(min(rank, scores.shape[1]), dim=1).indices
    return float(same.gather(1, best).any(1).float().mean())


@torch.no_grad()
def evaluate_pairs(model: AlignStage1Model, batches: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """Measure retrieval over all pairs, and matching within each batch.

    Matching is asked of each pair, and of each image and each report with its most similar wrong partner in the batch,
    so that answering "match" always scores a third.

    Args:
        model: The model; its mode is left in evaluation.
        batches: Arguments of its ``forward``.

    Returns:
        ``i2t_recall@k``, ``t2i_recall@k``, their mean ``recall_mean``, ``matching_accuracy``, ``pairs`` and
        ``reports``, the number of different ones.
    """
    model.eval()  # type: ignore[no-untyped-call]
    images, texts, numbers, right, asked = [], [], [], 0, 0
    for batch in batches:
        on = {name: value.to(model.device) for name, value in batch.items()}
        ids, mask = on["input_ids"], on["attention_mask"]
        patches = model.patches(on["pixel_values"])
        image, text = model.image_features(model.query_transformer(patches)), model.text_features(ids, mask)
        same = on["reports"][:, None] == on["reports"][None, :]
        scores = similarity(image, text)
        correct = [model.matching_logits(patches, ids, mask).argmax(1) == 1]
        chosen, there = draw_negatives(scores.T, same, None)
        correct.append(model.matching_logits(patches[chosen], ids, mask).argmax(1)[there] == 0)
        chosen, there = draw_negatives(scores, same, None)
        correct.append(model.matching_logits(patches, ids[chosen], mask[chosen]).argmax(1)[there] == 0)
        right += int(torch.cat(correct).sum())
        asked += sum(len(part) for part in correct)
        images.append(image.float())
        texts.append(text.float())
        numbers.append(on["reports"])
    return _retrieval(torch.cat(images), torch.cat(texts), torch.cat(numbers)) | {"matching_accuracy": right / asked}


def _retrieval(images: Tensor, texts: Tensor, numbers: Tensor) -> dict[str, float]:
    # One column for each different report: a text that stands twice would fill two of the ranks.
    first = _first_of_each(numbers)
    to_text = torch.cat([similarity(part, texts[first]) for part in images.split(64)])
    same = numbers[:, None] == numbers[first][None, :]
    metrics = {f"i2t_recall@{rank}": recall(to_text, same, rank) for rank in RANKS}
    metrics |= {f"t2i_recall@{rank}": recall(to_text.T, same.T, rank) for rank in RANKS}
    mean = sum(metrics.values()) / len(metrics)
    return metrics | {"recall_mean": mean, "pairs": len(numbers), "reports": len(first)}


def _first_of_each(numbers: Tensor) -> Tensor:
    seen: dict[int, int] = {}
    for index, number in enumerate(numbers.tolist()):
        seen.setdefault(number, index)
    return torch.tensor(list(seen.values()), device=numbers.device)
