"""BLEU-1 to 4 and ROUGE-L, exactly as pycocoevalcap computes them on RaDialog's tokens.

BLEU is the corpus BLEU of coco-caption with one reference: clipped n-gram precision with its smoothing constants, the
geometric mean, the brevity penalty over summed lengths. Identical texts score 1 - 1e-9 or so, because of the smoothing.
ROUGE-L is the mean over samples of the F-measure of the longest common subsequence with beta = 1.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.metrics.tokens import TOKENIZER_NAME, protocol_tokens

ORDERS = 4
BETA = 1.2
_SMALL, _TINY = 1e-9, 1e-15


def lexical_metrics() -> tuple[Metric[str], ...]:
    """Return BLEU-1 to 4 and ROUGE-L over texts."""
    bleus = tuple(
        Metric(f"bleu{n}", _signature(f"bleu{n}"), bleu_statistics, partial(bleu, order=n))
        for n in range(1, ORDERS + 1)
    )
    return (*bleus, Metric("rouge_l", _signature("rouge_l"), rouge_statistics, mean))


def bleu_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """Return [n, 10]: matches and guesses of the four orders, then the two lengths."""
    return _bleu_statistics(tuple(predictions), tuple(references)).copy()


def bleu(sums: Floats, order: int) -> Floats:
    """Return BLEU from summed statistics.

    Args:
        sums: [..., 10], as ``bleu_statistics`` gives them, summed over samples.
        order: Highest n-gram order, 1 to 4.

    Returns:
        [...] in 0..1.
    """
    matches, guesses = sums[..., :order], sums[..., ORDERS : ORDERS + order]
    precision = np.prod((matches + _TINY) / (guesses + _SMALL), axis=-1) ** (1 / order)
    ratio = (sums[..., 2 * ORDERS] + _TINY) / (sums[..., 2 * ORDERS + 1] + _SMALL)
    # An empty corpus of answers has a ratio near 0: exp underflows to the 0 it means.
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.maximum(ratio, 1e-12)), 1.0)
    scores: Floats = precision * penalty
    return scores


def rouge_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """Return [n, 2]: the sample's ROUGE-L and a one to count it."""
    scores = [rouge_l(_tokens(p), _tokens(r)) for p, r in zip(predictions, references, strict=True)]
    return np.column_stack((np.array(scores, dtype=np.float64), np.ones(len(scores))))


def rouge_l(prediction: Sequence[str], reference: Sequence[str]) -> float:
    """Return the F-measure of the longest common subsequence with beta = 1.2."""
    common = lcs_length(prediction, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(reference)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by bit-parallel dynamic programming (Hyyrö, 2004)."""
    positions: dict[str, int] = {}
    for index, token in enumerate(first):
        positions[token] = positions.get(token, 0) | (1 << index)
    mask = (1 << len(first)) - 1
    row = mask
    for token in second:
        matches = row & positions.get(token, 0)
        row = ((row + matches) | (row - matches)) & mask
    return len(first) - row.bit_count()


def mean(sums: Floats) -> Floats:
    """Return the mean from a summed value and a count; nan over nothing.

    Args:
        sums: [..., 2].
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = sums[..., 0] / sums[..., 1]
    return values


@lru_cache(maxsize=4)
def _bleu_statistics(predictions: tuple[str, ...], references: tuple[str, ...]) -> Floats:
    rows = np.zeros((len(predictions), 2 * ORDERS + 2))
    for row, prediction, reference in zip(rows, predictions, references, strict=True):
        guess, truth = _tokens(prediction), _tokens(reference)
        for order in range(1, ORDERS + 1):
            counts, limits = _ngrams(guess, order), _ngrams(truth, order)
            row[order - 1] = sum(min(count, limits[ngram]) for ngram, count in counts.items() if ngram in limits)
            row[ORDERS + order - 1] = max(0, len(guess) - order + 1)
        row[2 * ORDERS :] = len(guess), len(truth)
    return rows


@lru_cache(maxsize=65536)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(protocol_tokens(text))


def _ngrams(tokens: tuple[str, ...], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _signature(name: str) -> str:
    return f"{name}|protocol:radialog|tok:{TOKENIZER_NAME}|lower|v1"
