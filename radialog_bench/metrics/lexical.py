"""BLEU-1 to 4 and ROUGE-L, exactly as pycocoevalcap computes them on RaDialog's tokens.

BLEU is the corpus BLEU of coco-caption with one reference: clipped n-gram precision with its smoothing constants, the
geometric mean, the brevity penalty over summed lengths. Identical texts score 1 - 1e-9 or so, because of the smoothing.
ROUGE-L is the mean over samples of the F-measure of the longest common subsequence with beta = 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.metrics.lcs import lcs_lengths
from radialog_bench.metrics.ngrams import ORDERS, Corpus, Vocabulary, ngram_matches, ngram_totals
from radialog_bench.metrics.tokens import TOKENIZER_NAME, protocol_tokens

BETA = 1.2
_SMALL, _TINY = 1e-9, 1e-15
_TEXTS, _CORPORA = 65536, 8
"""How many texts and corpora an overlap remembers: the references of a few evaluations, and the answers to them."""


class Overlap:
    """What pairs of texts share under one tokenizer; remembers tokens, corpora and counts.

    Args:
        tokenize: Maps a text to its tokens.
    """

    def __init__(self, tokenize: Callable[[str], Sequence[str]]) -> None:
        self._vocabulary = Vocabulary()
        self._tokenize = lru_cache(_TEXTS)(tokenize)
        self._corpus = lru_cache(_CORPORA)(self._encode)
        self._ngrams = lru_cache(_CORPORA)(self._count)
        self._common = lru_cache(_CORPORA)(self._align)

    def bleu_statistics(self, predictions: Sequence[str], references: Sequence[str]) -> Floats:
        """Return [n, 10]: matches and guesses of the four orders, then the two lengths."""
        return self._ngrams(tuple(predictions), tuple(references)).copy()

    def common(self, predictions: Sequence[str], references: Sequence[str]) -> Floats:
        """Return [n, 3]: length of the longest common subsequence, then the two lengths."""
        return self._common(tuple(predictions), tuple(references)).copy()

    def _encode(self, texts: tuple[str, ...]) -> Corpus:
        return self._vocabulary.encode([self._tokenize(text) for text in texts])

    def _count(self, predictions: tuple[str, ...], references: tuple[str, ...]) -> Floats:
        guesses, truths = self._corpus(predictions), self._corpus(references)
        lengths = np.column_stack((guesses.lengths, truths.lengths))
        return np.concatenate((ngram_matches(guesses, truths), ngram_totals(guesses), lengths), axis=1)

    def _align(self, predictions: tuple[str, ...], references: tuple[str, ...]) -> Floats:
        guesses, truths = self._corpus(predictions), self._corpus(references)
        columns = (lcs_lengths(guesses, truths), guesses.lengths, truths.lengths)
        return np.column_stack(columns).astype(np.float64)


RADIALOG = Overlap(protocol_tokens)
"""Overlap on RaDialog's tokens."""


def lexical_metrics() -> tuple[Metric[str], ...]:
    """Return BLEU-1 to 4 and ROUGE-L over texts, in RaDialog's protocol."""
    bleus = tuple(
        Metric(f"bleu{n}", _signature(f"bleu{n}"), RADIALOG.bleu_statistics, partial(bleu, order=n))
        for n in range(1, ORDERS + 1)
    )
    return (*bleus, Metric("rouge_l", _signature("rouge_l"), rouge_statistics, mean))


def bleu(sums: Floats, order: int) -> Floats:
    """Return BLEU from summed statistics.

    Args:
        sums: [..., 10], as ``Overlap.bleu_statistics`` gives them, summed over samples.
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
    common, guesses, truths = RADIALOG.common(predictions, references).T
    precision, recall = common / np.maximum(guesses, 1), common / np.maximum(truths, 1)
    scores = (1 + BETA**2) * precision * recall / np.where(common > 0, recall + BETA**2 * precision, 1)
    # pycocoevalcap reads an empty text as one empty word, so two of them agree.
    scores[(guesses == 0) & (truths == 0)] = 1.0
    return with_count(scores)


def with_count(scores: Floats) -> Floats:
    """Return [n, 2]: each sample's score and a one, the statistics of a mean."""
    return np.column_stack((scores, np.ones(len(scores))))


def mean(sums: Floats) -> Floats:
    """Return the mean from a summed value and a count; nan over nothing.

    Args:
        sums: [..., 2].
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = sums[..., 0] / sums[..., 1]
    return values


def _signature(name: str) -> str:
    return f"{name}|protocol:radialog|tok:{TOKENIZER_NAME}|lower|v1"
