"""Prepared rows for the writers. A module of its own: datasets hashes what a generator of the main module refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ROWS: list[dict[str, Any]] = []


def rows() -> Iterator[dict[str, Any]]:
    """Yield the prepared rows."""
    yield from ROWS
