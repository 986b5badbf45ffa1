"""The processes of a build: each holds the source open and works on one shard of patients after the other.

Each process has a pipe of its own to the parent, for jobs, progress and results. There is no queue and no lock that a
process could take along when it dies: a closed pipe tells the parent, and a dead parent tells its processes.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from multiprocessing import resource_tracker
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from radialog_instruct.build.scan import Tick
from radialog_instruct.errors import DataError
from radialog_instruct.ids import shard_of
from radialog_instruct.sources import Reader
from radialog_instruct.sources.base import KeepSubject

Result = TypeVar("Result")
Work = Callable[[Any, Reader, KeepSubject, Tick], Result]
"""A job done with the source: job, reader, which patients belong to its shard, progress -> result."""


class Shards:
    """Which patient belongs to which shard; patients are hashed once a process."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._known: dict[str, int] = {}

    def keep(self, number: int) -> KeepSubject:
        """Return the test for one shard."""
        known, n = self._known, self._n

        def belongs(subject_id: str) -> bool:
            shard = known.get(subject_id)
            if shard is None:
                shard = known[subject_id] = shard_of(subject_id, n)
            return shard == number

        return belongs


class Crew:
    """Runs jobs on shards, in this process or in several.

    Args:
        reader: The source; worker processes get a copy.
        shards: Number of shards.
        workers: Number of processes; 1 works in this one.
        tick: Told about studies read, from this process.
    """

    def __init__(self, reader: Reader, shards: int, workers: int, tick: Tick) -> None:
        self._reader, self._n, self._tick = reader, shards, tick
        self._workers = min(workers, shards)
        self._shards = Shards(shards)
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection[Any, Any]] = []

    def __enter__(self) -> Crew:
        """Start the processes and return itself."""
        try:
            # Started before anything is held: starting it lets interrupts through again.
            resource_tracker.ensure_running()
            with _interrupts_held():
                for _ in range(self._workers if self._workers > 1 else 0):
                    self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """End the processes, whatever they do: what they have not finished is not there."""
        self._stop()

    def run(self, work: Work[Result], jobs: Sequence[tuple[int, Any]]) -> Iterator[tuple[int, Result]]:
        """Do jobs, each on its shard, and yield them as they finish.

        Args:
            work: A module-level function.
            jobs: Shard number and job.

        Raises:
            DataError: If a worker process died.
        """
        if not self._processes:
            for number, job in jobs:
                yield number, work(job, self._reader, self._shards.keep(number), self._tick)
            return
        waiting = deque(jobs)
        busy: dict[Connection[Any, Any], int] = {}
        for pipe in self._pipes:
            self._hand_out(pipe, work, waiting, busy)
        while busy:
            for pipe in [pipe for pipe in wait(list(busy)) if isinstance(pipe, Connection)]:
                kind, value = _received(pipe)
                if kind == "tick":
                    self._tick(value)
                elif kind == "error":
                    raise value
                else:
                    number = busy.pop(pipe)
                    self._hand_out(pipe, work, waiting, busy)
                    yield number, value

    def _hand_out(
        self,
        pipe: Connection[Any, Any],
        work: Work[Result],
        waiting: deque[tuple[int, Any]],
        busy: dict[Connection[Any, Any], int],
    ) -> None:
        if waiting:
            number, job = waiting.popleft()
            busy[pipe] = number
            with suppress(OSError):  # a dead process is met when its answer is read
                pipe.send((work, number, job))

    def _start(self) -> None:
        # Spawned, not forked: Arrow's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._reader, self._n), daemon=True)
        process.start()
        theirs.close()
        self._processes.append(process)
        self._pipes.append(ours)

    def _stop(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes = [], []


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl+C back while processes are started, and let it through afterwards.

    Ctrl+C reaches the whole process group, but the parent alone reports it and ends the others: they inherit a blocked
    signal. In the parent blocking is not enough, because a library's thread may be the one that receives it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl+C interrupts the main thread alone
        return
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if received:
        raise KeyboardInterrupt


def _received(pipe: Connection[Any, Any]) -> tuple[str, Any]:
    try:
        kind, value = pipe.recv()
    except (EOFError, OSError) as error:
        mend = "run the same command again, with fewer workers if memory was short; finished shards are kept"
        raise DataError("a worker process died", mend=mend) from error
    return kind, value


def _work(pipe: Connection[Any, Any], reader: Reader, n_shards: int) -> None:
    """Do jobs until the parent closes the pipe: the body of a worker process."""
    shards = Shards(n_shards)
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            work, number, job = pipe.recv()
            try:
                result = work(job, reader, shards.keep(number), lambda n: pipe.send(("tick", n)))
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
                pipe.send(("error", error))
            else:
                pipe.send(("done", result))
