"""METEOR's table of paraphrases, cut down to what a set of references can use.

The table has 5.3 million pairs of phrases, so most of them are turned down by numpy, many at a time: a phrase is out
when its first or its last word is no word of the references. What is left is looked up among their runs of words.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]
Places = NDArray[np.int64]

LONGEST = 7
"""Words of the longest phrase in the table; of a longer one the first words would have to be a run."""
_BLOCK = 1 << 23
_THREADS = 2
_WIDTH = 8
"""Bytes of a word that are compared at first."""
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(_WIDTH + 1)], dtype=np.uint64)
_BUCKETS = 20
"""Binary logarithm of the buckets that codes are spread over; words that share one are told apart later."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_PAD = b"\n" * _WIDTH


def runs_of(words: Sequence[str]) -> set[bytes]:
    """Return all runs of up to ``LONGEST`` words, joined by blanks.

    Args:
        words: A text's words.
    """
    coded = [word.encode(errors="replace") for word in words]
    size = len(coded)
    return {b" ".join(coded[i:j]) for i in range(size) for j in range(i + 1, min(i + LONGEST, size) + 1)}


def write_table(source: Path, runs: AbstractSet[bytes], target: Path) -> int:
    """Write the pairs of phrases of which at least one stands in the references as a run of words.

    Args:
        source: The whole table: a number, a phrase and its paraphrase in three lines each, gzipped.
        runs: The runs of words of the references, as ``runs_of`` gives them.
        target: The file to write.

    Returns:
        How many pairs were written.
    """
    words = [run for run in runs if b" " not in run]
    heads, tails = _bucket_set(word[:_WIDTH] for word in words), _bucket_set(word[: -_WIDTH - 1 : -1] for word in words)
    usable = partial(_usable, runs=runs, heads=heads, tails=tails)
    written = 0
    # numpy and zlib let other threads run: one reads on while others look through what was read.
    with (
        gzip.open(source) as table,
        gzip.open(target, "wb", compresslevel=0) as kept,
        ThreadPoolExecutor(_THREADS) as threads,
    ):
        waiting: deque[Future[list[bytes]]] = deque()
        for block in _blocks(table):
            waiting.append(threads.submit(usable, block))
            if len(waiting) > _THREADS:
                written += _keep(kept, waiting.popleft().result())
        written += sum(_keep(kept, entries.result()) for entries in waiting)
    return written


def _keep(target: gzip.GzipFile, entries: list[bytes]) -> int:
    target.write(b"".join(entries))
    return len(entries)


def _blocks(table: gzip.GzipFile) -> Iterator[bytes]:
    """Yield the table in pieces of whole entries."""
    rest = b""
    while piece := table.read(_BLOCK):
        rest += piece
        breaks = rest.count(b"\n") // 3 * 3
        if breaks:
            ends = np.flatnonzero(np.frombuffer(rest, dtype=np.uint8) == ord("\n"))
            stop = int(ends[breaks - 1]) + 1
            yield rest[:stop]
            rest = rest[stop:]


def _usable(block: bytes, runs: AbstractSet[bytes], heads: NDArray[np.bool_], tails: NDArray[np.bool_]) -> list[bytes]:
    data = np.frombuffer(_PAD + block + _PAD, dtype=np.uint8)
    ends = np.flatnonzero(data[_WIDTH:-_WIDTH] == ord("\n")) + _WIDTH
    text = data.tobytes()
    chosen: set[int] = set()
    verdicts: dict[bytes, bool] = {}
    for side in (0, 1):
        starts, stops = ends[side::3] + 1, ends[side + 1 :: 3]
        likely = np.flatnonzero(heads[_buckets(_heads(data, starts))] & tails[_buckets(_tails(data, stops))])
        phrases = [text[i:j] for i, j in zip(starts[likely].tolist(), stops[likely].tolist(), strict=True)]
        for phrase in set(phrases) - verdicts.keys():
            verdicts[phrase] = b" ".join(phrase.split()[:LONGEST]) in runs
        chosen.update(likely[[verdicts[phrase] for phrase in phrases]].tolist())
    first = np.concatenate(([0], ends[2::3] + 1 - _WIDTH)).tolist()
    return [block[first[entry] : first[entry + 1]] for entry in sorted(chosen)]


def _heads(data: NDArray[np.uint8], starts: Places) -> Codes:
    """Return the first bytes of the word at each place."""
    windows = np.lib.stride_tricks.sliding_window_view(data, _WIDTH)[starts]
    return _cut(windows)


def _tails(data: NDArray[np.uint8], stops: Places) -> Codes:
    """Return the last bytes of the word before each place, backwards."""
    windows = np.lib.stride_tricks.sliding_window_view(data, _WIDTH)[stops - _WIDTH]
    return _cut(np.ascontiguousarray(windows[:, ::-1]))


def _cut(windows: NDArray[np.uint8]) -> Codes:
    """Read eight bytes as one number, without those from the first blank or line break on."""
    ends = windows <= ord(" ")
    sizes = np.where(ends.any(axis=1), ends.argmax(axis=1), _WIDTH)
    codes: Codes = windows.view("<u8").ravel().astype(np.uint64) & _MASKS[sizes]
    return codes


def _buckets(codes: Codes) -> Places:
    buckets: Places = ((codes * _SPREAD) >> np.uint64(64 - _BUCKETS)).astype(np.int64)
    return buckets


def _bucket_set(words: Iterable[bytes]) -> NDArray[np.bool_]:
    found = np.zeros(1 << _BUCKETS, dtype=bool)
    codes = np.array([int.from_bytes(word, "little") for word in words], dtype=np.uint64)
    found[_buckets(codes)] = True
    return found
