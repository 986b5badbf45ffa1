"""The processes of a build: each holds the source open and works on one shard of patients after the other."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from radialog_instruct.build.scan import Tick
from radialog_instruct.errors import DataError
from radialog_instruct.ids import shard_of
from radialog_instruct.sources import Reader
from radialog_instruct.sources.base import KeepSubject

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

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


@dataclass
class _Worker:
    """What a worker process keeps between its jobs."""

    reader: Reader
    shards: Shards
    counter: Synchronized[int] | None

    def tick(self, n: int) -> None:
        if self.counter is not None:
            with self.counter.get_lock():
                self.counter.value += n


_worker: _Worker | None = None


class Crew:
    """Runs jobs on shards, in this process or in several.

    Args:
        reader: The source; worker processes get a copy.
        shards: Number of shards.
        workers: Number of processes; 1 works in this one.
        tick: Told about studies read, from this process.
    """

    def __init__(self, reader: Reader, shards: int, workers: int, tick: Tick) -> None:
        self._reader, self._tick = reader, tick
        self._shards = Shards(shards)
        self._pool: ProcessPoolExecutor | None = None
        self._counter: Synchronized[int] | None = None
        workers = min(workers, shards)
        if workers > 1:
            # Spawned, not forked: Arrow's threads do not survive a fork.
            context = multiprocessing.get_context("spawn")
            self._counter = context.Value("Q", 0)
            arguments = (reader, shards, self._counter)
            self._pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=arguments)

    def __enter__(self) -> Crew:
        """Return itself."""
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        """Stop the processes; at an error without waiting for what they do."""
        if self._pool is None:
            return
        if kind is None:
            self._pool.shutdown()
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()

    def run(self, work: Work[Result], jobs: Sequence[tuple[int, Any]]) -> Iterator[tuple[int, Result]]:
        """Do jobs, each on its shard, and yield them as they finish.

        Args:
            work: A module-level function.
            jobs: Shard number and job.

        Raises:
            DataError: If a worker process died.
        """
        if self._pool is None:
            for number, job in jobs:
                yield number, work(job, self._reader, self._shards.keep(number), self._tick)
            return
        futures: dict[Future[Result], int] = {self._pool.submit(_run, work, n, job): n for n, job in jobs}
        waiting, told = set(futures), 0
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                assert self._counter is not None
                seen, self._counter.value = self._counter.value, 0
                self._tick(seen)
                for future in done:
                    yield futures[future], future.result()
        except BrokenProcessPool as error:
            mend = "run the same command again, with fewer workers if memory was short; finished shards are kept"
            raise DataError("a worker process died", mend=mend) from error


def _start(reader: Reader, shards: int, counter: Synchronized[int]) -> None:
    global _worker  # noqa: PLW0603 - the only way to keep something in a pool's process
    # Ctrl+C reaches the whole process group; the parent alone reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _worker = _Worker(reader, Shards(shards), counter)


def _run(work: Work[Result], number: int, job: Any) -> Result:
    assert _worker is not None
    return work(job, _worker.reader, _worker.shards.keep(number), _worker.tick)
