"""Longest common subsequences of many pairs of token lists at once, in numpy.

Bit-parallel dynamic programming (Hyyrö, 2004) keeps a row of the table as bits, one a token of the shorter list. Here
one step handles one token of the longer list for all pairs together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from radialog_bench.metrics.ngrams import Corpus, Ids

Words = NDArray[np.uint64]

_MOST_WORDS = 16
"""Machine words of the longest list that is worth the vectorised path."""
_FULL = np.uint64(np.iinfo(np.uint64).max)
_POPCOUNT = np.array([value.bit_count() for value in range(256)], dtype=np.int64)


def lcs_lengths(first: Corpus, second: Corpus) -> Ids:
    """Return the length of the longest common subsequence of each pair.

    Args:
        first: n lists of tokens.
        second: n lists of tokens, encoded by the same vocabulary.

    Returns:
        [n] integers.
    """
    lengths = np.zeros(len(first), dtype=np.int64)
    words = (np.minimum(first.lengths, second.lengths) + 63) // 64
    for count in np.unique(words[words > 0]).tolist():
        members = np.flatnonzero(words == count)
        pairs = [sorted((first.row(i), second.row(i)), key=len) for i in members.tolist()]
        if count > _MOST_WORDS:
            lengths[members] = [lcs_length(short.tolist(), long.tolist()) for short, long in pairs]
            continue
        order = np.argsort([-len(long) for _, long in pairs], kind="stable")
        short, long = ([pairs[i][side] for i in order] for side in (0, 1))
        lengths[members[order]] = _lcs(short, long, count)
    return lengths


def lcs_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the length of the longest common subsequence of one pair, in whole numbers of any size."""
    positions: dict[object, int] = {}
    for index, token in enumerate(first):
        positions[token] = positions.get(token, 0) | (1 << index)
    mask = (1 << len(first)) - 1
    row = mask
    for token in second:
        matches = row & positions.get(token, 0)
        row = ((row + matches) | (row - matches)) & mask
    return len(first) - row.bit_count()


def _lcs(short: list[Ids], long: list[Ids], words: int) -> Ids:
    """Return the LCS of pairs whose shorter lists fill ``words`` machine words; the longest longer list comes first."""
    sizes = np.array([len(row) for row in long], dtype=np.int64)
    active = np.searchsorted(-sizes, -np.arange(sizes[0]))
    starts = np.concatenate(([0], np.cumsum(active)))
    pairs, places = _coordinates(sizes)
    occurs = np.empty((len(pairs), words), dtype=np.uint64)
    occurs[starts[places] + pairs] = _occurrences(short, long, words)
    rows = np.full((len(long), words), _FULL)
    for step, count in enumerate(active.tolist()):
        row, here = rows[:count], occurs[starts[step] : starts[step] + count]
        matches = row & here
        rows[:count] = _add(row, matches) | (row - matches)
    lengths = np.array([len(row) for row in short], dtype=np.int64)
    return lengths - _ones(rows & _masks(lengths, words))


def _occurrences(short: list[Ids], long: list[Ids], words: int) -> Words:
    """Return, for each token of the longer lists, the bits of its places in the pair's shorter list."""
    wanted, known = np.concatenate(long), np.concatenate(short)
    vocabulary = max(int(wanted.max()), int(known.max())) + 1
    pairs, places = _coordinates(np.array([len(row) for row in short], dtype=np.int64))
    keys = pairs * vocabulary + known
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    bits = np.zeros((len(keys), words), dtype=np.uint64)
    bits[np.arange(len(keys)), places // 64] = np.uint64(1) << (places % 64).astype(np.uint64)
    distinct, sets = keys[first], np.bitwise_or.reduceat(bits, first, axis=0)
    wanted = _coordinates(np.array([len(row) for row in long], dtype=np.int64))[0] * vocabulary + wanted
    found = np.minimum(np.searchsorted(distinct, wanted), len(distinct) - 1)
    return np.where((distinct[found] == wanted)[:, None], sets[found], np.uint64(0))


def _coordinates(sizes: Ids) -> tuple[Ids, Ids]:
    """Return the list and the place of every token of lists laid end to end."""
    lists = np.repeat(np.arange(len(sizes)), sizes)
    return lists, np.arange(len(lists)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _add(left: Words, right: Words) -> Words:
    """Add numbers of several machine words, lowest word first; the last carry falls off the end of the row."""
    total = left + right
    if total.shape[1] == 1:
        return total
    carry = np.zeros(len(left), dtype=bool)
    for word in range(total.shape[1]):
        over = total[:, word] < left[:, word]
        total[:, word] += carry
        carry = over | (carry & (total[:, word] == 0))
    return total


def _masks(lengths: Ids, words: int) -> Words:
    """Return [n, words]: ones in the bits below each length."""
    kept = np.clip(lengths[:, None] - 64 * np.arange(words), 0, 64).astype(np.uint64)
    return np.where(kept == 64, _FULL, (np.uint64(1) << (kept % np.uint64(64))) - np.uint64(1))


def _ones(rows: Words) -> Ids:
    ones: Ids = _POPCOUNT[np.ascontiguousarray(rows).view(np.uint8)].sum(axis=1)
    return ones
