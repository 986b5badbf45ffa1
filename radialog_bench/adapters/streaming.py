"""Adapters that keep a server busy: they draw requests as they have room for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from radialog_bench.chat import Request, Response

Take = Callable[[], Request | None]
"""Gives the next request, or None while there is none: the answers under way may bring more."""


@runtime_checkable
class StreamingAdapter(Protocol):
    """An adapter that can do more than answer batches: an optional ``stream`` beside ``generate``.

    A batch waits for its slowest answer. A stream does not: each answer lets its dialog go on, and the next request is
    there when the adapter asks for it.
    """

    name: str

    def stream(self, take: Take) -> Iterator[Response | None]:
        """Answer requests until there are none left.

        Args:
            take: To be called in the thread that iterates, whenever there is room for a request.

        Yields:
            One response a request, in any order, each as soon as it is there; None from time to time while nothing
            is, so that the log reaches the disk. The stream ends when nothing is under way and ``take`` gives None.
        """
        ...
