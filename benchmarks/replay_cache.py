"""The answer cache: look-ups and durable inserts a second, and memory over 500,000 requests.

python benchmarks/replay_cache.py benchmarks/results/replay_cache.json

The peer commits every answer by itself, as a cache must that cannot lose one, in the same sqlite with the same fsync.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from machine import describe

from radialog_instruct.replay.cache import Answer, AnswerCache, Engine
from radialog_instruct.replay.request import ModelIdentity, Sampling

REQUESTS, PEER_REQUESTS = 500_000, 3_000
ENGINE = Engine(ModelIdentity(model="org/model", revision="0" * 40), "vllm", "0.32.0")
SAMPLING = Sampling(temperature=0.0, top_p=0.95, max_tokens=320)
TEXT = "The heart is a little larger than normal. There is some water beside the left lung. " * 4


def answer(number: int) -> tuple[bytes, Answer]:
    """Return a key and an answer of typical length (about 340 characters)."""
    return sha256(str(number).encode()).digest(), Answer(f"{TEXT}{number}", "stop", 180, 75, ENGINE, SAMPLING, 0)


def megabytes() -> float:
    """Return the resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def insert(cache: AnswerCache, first: int, n: int, *, commit_each: bool) -> float:
    """Insert answers until all are durable; return answers a second."""
    start = time.perf_counter()
    for number in range(first, first + n):
        cache.add(*answer(number))
        if commit_each:
            cache.commit()
    cache.commit()
    return n / (time.perf_counter() - start)


def look_up(cache: AnswerCache, n: int) -> float:
    """Look keys up, half of them missing, in an order that is not the file's; return look-ups a second."""
    keys = sorted(sha256(str(number).encode()).digest() for number in range(0, 2 * n, 2))
    start = time.perf_counter()
    found = sum(cache.get(key) is not None for key in keys)
    assert found == n // 2
    return n / (time.perf_counter() - start)


def main(output: Path) -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        with AnswerCache(Path(folder) / "peer.sqlite", writable=True) as peer:
            peer_rate = insert(peer, 0, PEER_REQUESTS, commit_each=True)
        with AnswerCache(Path(folder) / "a.sqlite", writable=True) as cache:
            before = megabytes()
            rates, memory = [], []
            for first in range(0, REQUESTS, REQUESTS // 10):
                rates.append(insert(cache, first, REQUESTS // 10, commit_each=False))
                memory.append(round(megabytes() - before, 1))
            lookups = look_up(cache, REQUESTS)
            after = round(megabytes() - before, 1)
        size = (Path(folder) / "a.sqlite").stat().st_size
    result = {
        "requests": REQUESTS,
        "durable_inserts_a_second": round(REQUESTS / sum(REQUESTS / 10 / rate for rate in rates)),
        "slowest_tenth_inserts_a_second": round(min(rates)),
        "peer_commits_each_answer_inserts_a_second": round(peer_rate),
        "ratio_to_peer": round(REQUESTS / sum(REQUESTS / 10 / rate for rate in rates) / peer_rate, 1),
        "lookups_a_second_half_of_them_missing": round(lookups),
        "megabytes_more_after_each_tenth_of_inserts": memory,
        "megabytes_more_after_lookups": after,
        "peak_megabytes_of_the_process": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
        "file_megabytes": round(size / 1e6, 1),
        "machine": describe(),
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
