"""How well the runner keeps a server busy: Rad-ReStruct's and binary findings questions, many at a time and one by one.

    python benchmarks/dialog_batching.py benchmarks/results/dialog_batching.json [RAD_RESTRUCT IU_XRAY]

The server is simulated in this process: it takes up to 64 requests at once, and each needs a log-normal time (median
0.25 s, sigma 0.5). The answers are the references', so that dialogs take real paths. With the folders of Rad-ReStruct
and IU-Xray the first 100 frontal images of their test splits are asked about, else those of the demo. One by one means
the same runner with one request at a time, timed on the first dialogs and counted by the question.

Fill: the mean number of requests that the server works on over the whole run, from the first request to the last
answer, as a share of its room; by batches it is what the same server gives when a batch of 64 must end before the next
begins.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from radialog_bench.adapters.base import Adapter
from radialog_bench.chat import Request, Response
from radialog_bench.config import RunConfig
from radialog_bench.data import bench_context, load_data
from radialog_bench.responses import ResponseLog
from radialog_bench.runner import Runner, RunnerSettings
from radialog_instruct.labeling import rules

ROOM, MEDIAN, SIGMA = 64, 0.25, 0.5
SAMPLES, ONE_BY_ONE = 100, 100
Answer = Callable[[Request], str]


class Server:
    """Answers after a log-normal time; it knows how many requests it held, and for how long."""

    def __init__(self, answer: Answer, room: int) -> None:
        self.room = room
        self._answer, self._delays = answer, np.random.default_rng(0)
        self._done: queue.Queue[Response] = queue.Queue()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.held, self.busy, self.first, self.last = 0, 0.0, 0.0, 0.0
        self._lock = threading.Lock()

    def ask(self, request: Request) -> None:
        """Take a request."""
        self._count(1)
        delay = MEDIAN * float(np.exp(SIGMA * self._delays.standard_normal()))
        response = Response(request.id, self._answer(request))
        self._loop.call_soon_threadsafe(self._loop.call_later, delay, self._finish, response)

    def next(self) -> Response:
        """Wait for an answer."""
        return self._done.get()

    def close(self) -> None:
        """Stop the clock's thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def fill(self) -> float:
        """Share of the room that was in use."""
        return self.busy / (self.room * (self.last - self.first))

    def _finish(self, response: Response) -> None:
        self._count(-1)
        self._done.put(response)

    def _count(self, change: int) -> None:
        with self._lock:
            now = time.perf_counter()
            self.first = self.first or now
            self.busy += self.held * (now - (self.last or now))
            self.held, self.last = self.held + change, now


class Batches(Adapter):
    """Sends a batch and waits for all of it."""

    name = "batches"
    needs_images = False

    def __init__(self, server: Server) -> None:
        self.server = server

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer a batch."""
        for request in requests:
            self.server.ask(request)
        for _ in requests:
            yield self.server.next()


class Stream(Batches):
    """Keeps the server full."""

    name = "stream"

    def stream(self, take: Callable[[], Request | None]) -> Iterator[Response | None]:
        """Answer requests as long as there are any."""
        under_way = 0
        while True:
            while under_way < self.server.room and (request := take()) is not None:
                self.server.ask(request)
                under_way += 1
            if not under_way:
                return
            yield self.server.next()
            under_way -= 1


def hold(part: Any, answer: Answer, kind: type[Batches], room: int, most: int | None = None) -> dict[str, float]:
    """Hold dialogs, and return questions, seconds and fill; with ``most``, stop after that many questions."""
    server = Server(answer, room)
    dialogs = (part.evaluation.dialog(sample) for sample in part.samples)
    with tempfile.TemporaryDirectory() as folder, ResponseLog(Path(folder) / "log.jsonl") as log:
        settings = RunnerSettings(room, 1 if room == 1 else 64)
        runner = Runner(kind(server), "f", log, rules.label_many, settings)
        start = time.perf_counter()
        for _ in runner.run(dialogs):
            if most is not None and runner.stats.asked >= most:
                break
        seconds = time.perf_counter() - start
    server.close()
    return {"questions": runner.stats.asked, "seconds": seconds, "fill": server.fill}


def measure(config: RunConfig) -> dict[str, Any]:
    """Compare the ways to ask."""
    adapter = Batches(Server(str, 1))
    data = load_data(config, adapter)
    answer, part = bench_context(data, config, rules.label_many).answer, data.parts[0]
    stream, batches = hold(part, answer, Stream, ROOM), hold(part, answer, Batches, ROOM)
    single = hold(part, answer, Stream, 1, ONE_BY_ONE)
    pace = {name: run["questions"] / run["seconds"] for name, run in (("stream", stream), ("single", single))}
    return {
        "data": data.info.source,
        "dialogs": len(part.samples),
        "questions": stream["questions"],
        "seconds": round(stream["seconds"], 2),
        "mean_fill": round(stream["fill"], 4),
        "mean_fill_by_batches": round(batches["fill"], 4),
        "seconds_by_batches": round(batches["seconds"], 2),
        "questions_a_second": round(pace["stream"], 1),
        "questions_a_second_one_by_one": round(pace["single"], 2),
        "ratio": round(pace["stream"] / pace["single"], 1),
    }


def main(output: Path, structured: Path | None, reports: Path | None) -> None:
    """Measure both evaluations and write the result."""
    common: dict[str, Any] = {"model": "oracle", "labeler": "rules", "limit": SAMPLES}
    demo = {"data": "demo", "split": "all"}
    place = {"data": "rad-restruct", "root": structured} if structured is not None else demo
    hierarchy = RunConfig(evaluations=("rad_restruct",), **place, **common)
    place = {"data": "iu-xray", "root": reports} if reports is not None else demo
    binary = RunConfig(evaluations=("findings_qa",), **place, **common)
    result = {
        "in_flight": ROOM,
        "latency": f"log-normal, median {MEDIAN} s, sigma {SIGMA}",
        "rad_restruct": measure(hierarchy),
        "findings_qa": measure(binary),
        "machine": describe(),
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 4):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *(map(Path, sys.argv[2:]) if len(sys.argv) == 4 else (None, None)))
