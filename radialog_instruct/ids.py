"""Stable ids and seeded choices: hashes of what a thing is, never of the order in which it was met."""

from __future__ import annotations

from hashlib import blake2b

_SCHEME = "v1"


def _digest(*key: str, size: int) -> bytes:
    # A length prefix keeps ("a", "b|c") and ("a|b", "c") apart.
    hasher = blake2b(digest_size=size)
    for part in key:
        raw = part.encode()
        hasher.update(len(raw).to_bytes(4, "big"))
        hasher.update(raw)
    return hasher.digest()


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
