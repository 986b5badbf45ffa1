"""Stable ids and seeded choices: hashes of what a thing is, never of the order in which it was met."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from struct import Struct

_SCHEME = "v1"
_EIGHT = Struct(">8Q")


def _digest(*key: str, size: int) -> bytes:
    return blake2b(b"".join(map(_part, key)), digest_size=size).digest()


@lru_cache(maxsize=1 << 14)
def _part(part: str) -> bytes:
    # A length prefix keeps ("a", "b|c") and ("a|b", "c") apart. Cached: a study's id is hashed for all of its samples.
    raw = part.encode()
    return len(raw).to_bytes(4, "big") + raw


def rank(seed: int, *key: str) -> int:
    """Return a uniform 64-bit integer for a key: sampling k of N keeps the k smallest ranks.

    The result depends on the seed and the key alone, so a sample stays the same whatever the worker count or the
    listing order, and only grows when N grows.

    Args:
        seed: The build's seed.
        *key: What is being ranked, for example task, study id, slot and purpose.

    Returns:
        An integer in [0, 2**64).
    """
    return int.from_bytes(_digest(_SCHEME, str(seed), *key, size=8), "big")


def pick(n: int, seed: int, *key: str) -> int:
    """Choose one of n alternatives for a key.

    Args:
        n: Number of alternatives, at least 1.
        seed: The build's seed.
        *key: What the choice is for, for example task, study id, slot and purpose.

    Returns:
        An index in [0, n).

    Raises:
        ValueError: If n is less than 1.
    """
    if n < 1:
        raise ValueError(f"cannot pick from {n} alternatives")
    return rank(seed, *key) % n


def sample_id(*key: str) -> str:
    """Return the 128-bit hexadecimal id of a sample.

    Args:
        *key: The sample's identity: task, source, study id, image ids, slot.
    """
    return _digest(_SCHEME, *key, size=16).hex()


def shard_of(subject_id: str, n_shards: int) -> int:
    """Return the shard of a patient, so that all samples of a patient lie in one shard.

    Args:
        subject_id: The patient.
        n_shards: Number of shards, a property of the build and never of the number of workers.
    """
    return int.from_bytes(_digest(_SCHEME, "shard", subject_id, size=8), "big") % n_shards


def ranks(n: int, seed: int, *key: str) -> list[int]:
    """Return n independent ranks for a key at an eighth of the cost of n calls of ``rank``.

    Args:
        n: Number of ranks.
        seed: The build's seed.
        *key: What is being ranked.
    """
    values: list[int] = []
    block = 0
    while len(values) < n:
        values.extend(_EIGHT.unpack(_digest(_SCHEME, str(seed), *key, str(block), size=64)))
        block += 1
    return values[:n]
