"""The METEOR program: where it is, how it is run, and how to give it no more than it needs.

Most of the program's start is reading 5.3 million paraphrases. A pair of them can only match where one of the two
stands in the reference as a run of words, so the machines get those pairs: the counts stay the same, and a machine
starts many times faster in a fraction of the memory. The words are those the program's own normalizer makes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from radialog_bench.metrics.base import MetricError
from radialog_bench.metrics.java import EXTRA, Machine, find_java, last_line
from radialog_bench.metrics.meteor_table import runs_of, write_table

Pair = tuple[str, str]

_FLAGS = (
    "-Xmx2G",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dfile.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
)
"""Every core has a machine, and in its first minutes Java's second compiler costs more than its code gains."""
_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
"""What pycocoevalcap starts METEOR with."""
_CHUNK = 64
"""Pairs a machine takes at a time."""
_WORTH_A_MACHINE = 200
"""Pairs that make up for starting one more machine."""
_MOST_MACHINES = 8
_BLANKS = re.compile("[ \t\r\f]+")
"""What the program separates words by."""


def find_meteor() -> tuple[Path, Path]:
    """Return the Java executable and METEOR's jar.

    Raises:
        MetricError: If one of them is not installed.
    """
    package = importlib.util.find_spec("pycocoevalcap")
    folders = list(package.submodule_search_locations or ()) if package else []
    jars = [jar for folder in folders if (jar := Path(folder, "meteor", "meteor-1.5.jar")).is_file()]
    if not jars:
        raise MetricError("METEOR's program is not installed; it ships in the package pycocoevalcap", mend=EXTRA)
    return find_java(), jars[0]


class Meteor:
    """Java machines that run METEOR.

    Args:
        java: The Java executable.
        jar: METEOR's jar; the paraphrases lie in the folder ``data`` beside it.
        machines: How many at most; None takes one a core. Fewer are started for few pairs.
    """

    def __init__(self, java: Path, jar: Path, machines: int | None = None) -> None:
        self._java, self._jar = java, jar
        self._most = machines or min(_MOST_MACHINES, _cores())
        self._folder = tempfile.TemporaryDirectory(prefix="radialog-meteor-")
        self._table = Path(self._folder.name, "paraphrase.gz")
        self._runs: set[str] = set()
        self._seen: set[str] = set()
        self._machines: list[Machine] = []
        self._halt = threading.Event()

    def align(self, pairs: Sequence[Pair]) -> list[str]:
        """Return the program's line of counts for each pair.

        Args:
            pairs: Answer and reference, each one line without the separator ``|||``.

        Raises:
            MetricError: If a machine does not start, or dies twice over the same pairs.
        """
        try:
            self._learn({truth for _, truth in pairs})
            while len(self._machines) < max(1, min(self._most, len(pairs) // _WORTH_A_MACHINE)):
                self._machines.append(self._start())
            return self._share_out(pairs)
        except OSError as error:
            raise MetricError(f"the METEOR program cannot be run ({error})") from error

    def close(self) -> None:
        """End the machines and remove the paraphrase table."""
        self._stop()
        self._folder.cleanup()

    def _share_out(self, pairs: Sequence[Pair]) -> list[str]:
        chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
        answers: list[list[str]] = [[] for _ in chunks]
        queue, lock = iter(range(len(chunks))), threading.Lock()

        def work(place: int) -> None:
            while not self._halt.is_set():
                with lock:
                    index = next(queue, None)
                if index is None:
                    return
                answers[index] = self._score(place, chunks[index])

        self._halt.clear()
        with ThreadPoolExecutor(len(self._machines)) as threads:
            try:
                for done in [threads.submit(work, place) for place in range(len(self._machines))]:
                    done.result()
            finally:
                self._halt.set()
        return [line for chunk in answers for line in chunk]

    def _score(self, place: int, chunk: Sequence[Pair]) -> list[str]:
        lines = [f"SCORE ||| {truth} ||| {guess}" for guess, truth in chunk]
        try:
            return self._machines[place].ask(lines)
        except MetricError:
            if self._halt.is_set():
                raise
            self._machines[place].close()
            self._machines[place] = self._start()
            return self._machines[place].ask(lines)

    def _start(self) -> Machine:
        return Machine([str(self._java), *_FLAGS, "-jar", str(self._jar), *_OPTIONS, "-a", str(self._table)])

    def _stop(self) -> None:
        while self._machines:
            self._machines.pop().close()

    def _learn(self, references: set[str]) -> None:
        """Make sure the table holds every paraphrase of the references."""
        new = sorted(references - self._seen)
        if not new and self._table.exists():
            return
        source, made = self._jar.parent / "data" / "paraphrase-en.gz", self._table.with_suffix(".new")
        # The normalizer is another process: the table is read meanwhile.
        with ThreadPoolExecutor(1) as thread:
            normalized = thread.submit(self._normalize, new)
            if not self._table.exists() or not normalized.result() <= self._runs:
                self._stop()
                write_table(source, lambda: self._runs | normalized.result(), made)
                made.replace(self._table)
        self._runs |= normalized.result()
        self._seen.update(new)

    def _normalize(self, lines: list[str]) -> set[str]:
        command = [str(self._java), *_FLAGS, "-cp", str(self._jar), "edu.cmu.meteor.util.Normalizer", "en", "true"]
        text = "".join(line + "\n" for line in lines).encode(errors="replace")
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        if done.returncode:
            raise MetricError(f"METEOR's normalizer failed ({last_line(done.stderr)})")
        normalized = done.stdout.decode().lower().split("\n")
        return runs_of([[word for word in _BLANKS.split(line) if word] for line in normalized])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
