"""What the dialog runner costs a request: the runner with its synced log against a plain loop over batches.

Also its memory over 10,000 and 100,000 dialogs, each in a process of its own.

python benchmarks/runner_overhead.py benchmarks/results/runner_overhead.json
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from machine import describe

from radialog_bench import Ask, Message, Request
from radialog_bench.adapters.baselines import Echo
from radialog_bench.dialog import Dialog
from radialog_bench.responses import ResponseLog
from radialog_bench.runner import Runner, RunnerSettings
from radialog_instruct.labeling import rules

REQUESTS, BATCH = 20_000, 64


def requests(count: int = REQUESTS) -> Iterator[Request]:
    """Yield the questions."""
    for number in range(count):
        yield Request(str(number), "test", "turn", (Message("user", f"Question {number}?"),))


def dialog(request: Request) -> Dialog[str]:
    """Ask one question."""
    response = yield Ask(request)
    return response.text


def plain_loop() -> float:
    """Return the seconds of the adapter alone."""
    adapter, start = Echo(), time.perf_counter()
    everything = list(requests())
    answers = [r for i in range(0, REQUESTS, BATCH) for r in adapter.generate(everything[i : i + BATCH])]
    assert len(answers) == REQUESTS
    return time.perf_counter() - start


def with_runner(count: int = REQUESTS) -> float:
    """Return the seconds of the same questions as dialogs."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ResponseLog(Path(folder) / "log.jsonl") as log:
        runner = Runner(Echo(), "f", log, rules.label_many, RunnerSettings(BATCH, 4 * BATCH))
        assert sum(1 for _ in runner.run(dialog(request) for request in requests(count))) == count
    return time.perf_counter() - start


def megabytes(count: int) -> float:
    """Return the peak memory of a process that runs this many dialogs."""
    command = [sys.executable, __file__, "--memory", str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(output: Path) -> None:
    """Measure and write the result."""
    plain, runner = min(plain_loop() for _ in range(3)), min(with_runner() for _ in range(3))
    result = {
        "requests": REQUESTS,
        "batch": BATCH,
        "microseconds_a_request_plain_loop": round(plain / REQUESTS * 1e6, 2),
        "microseconds_a_request_runner": round(runner / REQUESTS * 1e6, 2),
        "overhead_microseconds_a_request": round((runner - plain) / REQUESTS * 1e6, 2),
        "ratio": round(runner / plain, 2),
        "peak_megabytes_10000_dialogs": megabytes(10_000),
        "peak_megabytes_100000_dialogs": megabytes(100_000),
        "machine": describe(),
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        with_runner(int(sys.argv[2]))
        print(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1))
        sys.exit()
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
