"""N-gram matches of many pairs of token lists at once, in numpy.

The counts are exact: an n-gram is its tokens' numbers side by side in one 64-bit integer, together with the pair it
belongs to, so equal integers are equal n-grams of the same pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

ORDERS = 4
_PAIRS = 4096
"""Pairs handled together; halved where their vocabulary is too rich for 64 bits."""


@dataclass(frozen=True)
class Corpus:
    """Token lists as one array.

    Attributes:
        ids: [total] numbers of all tokens, list after list.
        starts: [n + 1] where each list starts, and the total.
    """

    ids: Ids
    starts: Ids

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Ids:
        """[n] tokens of each list."""
        lengths: Ids = np.diff(self.starts)
        return lengths

    def rows(self, start: int, stop: int) -> Corpus:
        """Return some of the lists."""
        first, last = self.starts[start], self.starts[stop]
        return Corpus(self.ids[first:last], self.starts[start : stop + 1] - first)

    def row(self, index: int) -> Ids:
        """Return one list."""
        return self.ids[self.starts[index] : self.starts[index + 1]]


class Vocabulary:
    """Numbers tokens in the order they are met; corpora are compared only if one vocabulary encoded both."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def encode(self, lists: Sequence[Sequence[str]]) -> Corpus:
        """Encode token lists."""
        ids = self._ids
        for token in set(chain.from_iterable(lists)) - ids.keys():
            ids[token] = len(ids)
        starts = np.concatenate(([0], np.cumsum([len(row) for row in lists], dtype=np.int64)))
        flat = map(ids.__getitem__, chain.from_iterable(lists))
        return Corpus(np.fromiter(flat, dtype=np.int64, count=int(starts[-1])), starts)


def ngram_matches(guesses: Corpus, truths: Corpus) -> NDArray[np.float64]:
    """Count the clipped n-gram matches of each pair.

    Args:
        guesses: n lists of tokens.
        truths: n lists of tokens, encoded by the same vocabulary.

    Returns:
        [n, 4]: for orders 1 to 4, the sum over distinct n-grams of the smaller of the two counts.
    """
    matches = np.zeros((len(guesses), ORDERS))
    pending = [(start, min(start + _PAIRS, len(guesses))) for start in range(0, len(guesses), _PAIRS)]
    while pending:
        start, stop = pending.pop()
        left, right, bits = _compact(guesses.rows(start, stop), truths.rows(start, stop))
        if bits * ORDERS + (stop - start).bit_length() <= 63:
            matches[start:stop] = _matches(left, right, bits)
        elif stop - start > 1:
            middle = (start + stop) // 2
            pending += [(start, middle), (middle, stop)]
        else:
            matches[start] = _counted(left.ids.tolist(), right.ids.tolist())
    return matches


def ngram_totals(corpus: Corpus) -> NDArray[np.float64]:
    """Return [n, 4]: how many n-grams of orders 1 to 4 each list has."""
    totals: NDArray[np.float64] = np.maximum(0.0, corpus.lengths[:, None] - np.arange(ORDERS))
    return totals


def _compact(left: Corpus, right: Corpus) -> tuple[Corpus, Corpus, int]:
    """Number the tokens of two corpora from 0 without gaps; also return the bits a number takes."""
    highest = max((int(side.ids.max()) for side in (left, right) if len(side.ids)), default=0)
    used = np.zeros(highest + 1, dtype=bool)
    used[left.ids] = used[right.ids] = True
    numbers = np.cumsum(used) - 1
    bits = int(used.sum()).bit_length()
    return Corpus(numbers[left.ids], left.starts), Corpus(numbers[right.ids], right.starts), bits


def _matches(guesses: Corpus, truths: Corpus, bits: int) -> NDArray[np.float64]:
    counts = np.zeros((len(guesses), ORDERS))
    left, right = _codes(guesses, bits), _codes(truths, bits)
    for order, (ours, theirs) in enumerate(zip(left, right, strict=True), 1):
        if not len(ours) or not len(theirs):
            break
        (ours, how_often), (theirs, limits) = _distinct(ours), _distinct(theirs)
        found = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
        hit = np.flatnonzero(theirs[found] == ours)
        clipped = np.minimum(how_often[hit], limits[found[hit]])
        counts[:, order - 1] = np.bincount(ours[hit] >> (bits * order), weights=clipped, minlength=len(guesses))
    return counts


def _codes(corpus: Corpus, bits: int) -> list[Ids]:
    """Return the n-grams of each order, each as one integer: the pair's number, then its tokens'."""
    lengths = corpus.lengths
    codes = np.repeat(np.arange(len(lengths)), lengths)
    # How many tokens of its own list follow a position, itself included.
    left = np.repeat(corpus.starts[1:], lengths) - np.arange(len(corpus.ids))
    orders = []
    for order in range(1, ORDERS + 1):
        reach = max(0, len(corpus.ids) - order + 1)
        codes = (codes[:reach] << bits) | corpus.ids[order - 1 :]
        orders.append(codes[left[:reach] >= order])
    return orders


def _distinct(codes: Ids) -> tuple[Ids, Ids]:
    """Return the sorted distinct codes and how often each occurs."""
    codes = np.sort(codes)
    first = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    return codes[first], np.diff(first, append=len(codes))


def _counted(guess: list[int], truth: list[int]) -> list[int]:
    pairs = [(_ngrams(guess, order), _ngrams(truth, order)) for order in range(1, ORDERS + 1)]
    return [sum((counts & limits).values()) for counts, limits in pairs]


def _ngrams(tokens: list[int], order: int) -> Counter[tuple[int, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
