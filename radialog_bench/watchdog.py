"""A limit on how long an adapter in this process may be silent.

Python cannot end a thread that hangs in foreign code. What has been answered is kept, the run ends, and the process
leaves without waiting for the thread.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

from radialog_instruct.errors import RadialogError

Item = TypeVar("Item")

_CLOSING = 10.0
"""Seconds a hung adapter has to release what it holds."""
_hung = threading.Event()
"""Set for good once an adapter of this process hung."""


class AdapterHungError(RadialogError):
    """An adapter in this process gave no answer in time; the run ends with 1 and can be resumed."""


def watched(make: Callable[[], Iterable[Item]], seconds: float) -> Iterator[Item]:
    """Yield what an iterable yields, drawn from it in a thread of its own.

    The two threads take turns: while an item is waited for the caller does nothing, and while the caller works nothing
    is drawn. So an iterable that calls back into its caller is as safe as without a watch.

    Args:
        make: Makes the iterable, in the thread.
        seconds: Longest time to wait for an item; a None is passed on, but is no sign of life.

    Raises:
        AdapterHungError: After ``seconds`` without an item; the thread is left behind.
    """
    results: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
    turn, dropped = threading.Semaphore(0), threading.Event()

    def draw() -> None:
        try:
            turn.acquire()
            for item in make():
                results.put(item)
                turn.acquire()
                if dropped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            results.put(_End(error))
        else:
            results.put(_End(None))

    threading.Thread(target=draw, name="watched-adapter", daemon=True).start()
    waited = 0.0
    try:
        while True:
            turn.release()
            start = time.monotonic()
            try:
                item = results.get(timeout=max(seconds - waited, 0.0))
            except queue.Empty:
                _hung.set()
                what = f"the adapter gave no answer within {seconds:g} s"
                mend = "answers are kept: run the same command again, with a larger --timeout if it is only slow"
                raise AdapterHungError(what, where="--timeout", mend=mend) from None
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            waited = waited + time.monotonic() - start if item is None else 0.0
            yield item
    finally:
        dropped.set()
        turn.release()


class _End:
    """The end of an iteration, with what it raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def closed_in_time(close: Callable[[], object]) -> None:
    """Close an adapter; after a hang, without waiting longer than a few seconds."""
    if not _hung.is_set():
        close()
        return
    closing = threading.Thread(target=close, name="closing-adapter", daemon=True)
    closing.start()
    closing.join(timeout=_CLOSING)


def leave(code: int) -> NoReturn:
    """End the process; after a hang, without waiting for threads that will not end."""
    if _hung.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
