"""Runs a command and measures the memory of it and all processes below it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes:
        seconds: Wall time.
        peak_bytes: Largest sum of proportional set sizes over all processes, sampled every 200 ms.
        processes: Largest number of processes at once.
        output: What it printed.
    """

    seconds: float
    peak_bytes: int
    processes: int
    output: str


def measure(command: list[str]) -> Measured:
    """Run a command to its end.

    Raises:
        RuntimeError: If it fails.
    """
    start = time.perf_counter()
    # A file, not a pipe: a full pipe would stop a talkative command.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        peak = most = 0
        while process.poll() is None:
            sizes = [_size(pid) for pid in _tree(process.pid)]
            peak, most = max(peak, sum(sizes)), max(most, sum(size > 0 for size in sizes))
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{output[-2000:]}")
    return Measured(seconds, peak, most, output)


def _tree(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in (path.name for path in Path("/proc").iterdir()):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += parents.get(pid, [])
    return found


def _size(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
