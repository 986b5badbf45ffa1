"""METEOR's table of paraphrases, cut down to what a set of references can use.

The table has 5.3 million pairs of phrases. Its lines are handed to Arrow as they lie in memory, which looks all of them
up among the references' runs of words without making a Python object of any.
"""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 7
"""Words of the longest phrase in the table."""
_ENTRY = 3
"""Lines of an entry: a number, a phrase, its paraphrase."""
_BLOCK = 1 << 25
_READ_AHEAD = 4
_THREADS = 2


def runs_of(texts: Sequence[Sequence[str]]) -> set[str]:
    """Return all runs of up to ``LONGEST`` words, joined by blanks.

    Args:
        texts: The words of each text.
    """
    runs: set[str] = set()
    for words in texts:
        for size in range(1, LONGEST + 1):
            runs.update(map(" ".join, zip(*(words[start:] for start in range(size)), strict=False)))
    return runs


def write_table(source: Path, runs: Callable[[], AbstractSet[str]], target: Path) -> int:
    """Write the pairs of phrases of which at least one stands in the references as a run of words.

    Args:
        source: The whole table, gzipped; the words of a phrase stand one blank apart.
        runs: Gives the runs of words of the references, as ``runs_of`` does; asked once the first blocks are read.
        target: The file to write, gzipped without compression.

    Returns:
        How many pairs were written.
    """
    written = 0
    with gzip.open(source) as table:
        blocks = _blocks(table)
        first = list(islice(blocks, _READ_AHEAD))
        phrases = pa.array([(run + "\n").encode(errors="replace") for run in runs()], pa.binary())
        with gzip.open(target, "wb", compresslevel=0) as kept:
            for entries in _usable_entries(chain(first, blocks), phrases):
                kept.write(entries)
                written += entries.count(b"\n") // _ENTRY
    return written


def _usable_entries(blocks: Iterable[bytes], phrases: pa.BinaryArray) -> Iterator[bytes]:
    # zlib and Arrow let other threads run: one reads on while others look through what was read.
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for block in blocks:
            waiting.append(threads.submit(_usable, block, phrases))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        yield from (entries.result() for entries in waiting)


def _blocks(table: gzip.GzipFile) -> Iterator[bytes]:
    """Yield the table in pieces of whole entries."""
    rest = b""
    while piece := table.read(_BLOCK):
        rest += piece
        stop = len(rest)
        lines = np.count_nonzero(np.frombuffer(rest, dtype=np.uint8) == ord("\n"))
        for _ in range(lines % _ENTRY + 1):
            stop = rest.rfind(b"\n", 0, stop)
        if stop > 0:
            yield rest[: stop + 1]
            rest = rest[stop + 1 :]


def _usable(block: bytes, phrases: pa.BinaryArray) -> bytes:
    """Return the entries of a block with one of the phrases."""
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
    places = np.concatenate(([0], ends + 1), dtype=np.int32)
    lines = pa.BinaryArray.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(places), pa.py_buffer(block)])
    found = pc.is_in(lines, value_set=phrases).to_numpy(zero_copy_only=False).reshape(-1, _ENTRY)
    chosen = np.flatnonzero(found[:, 1] | found[:, 2]) * _ENTRY
    return b"".join(
        [block[i:j] for i, j in zip(places[chosen].tolist(), places[chosen + _ENTRY].tolist(), strict=True)]
    )
