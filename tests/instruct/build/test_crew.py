"""The processes of a build: what happens when one fails, dies, or everything is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from radialog_instruct.build.crew import Crew
from radialog_instruct.build.scan import Tick
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.sources import Reader, open_source
from radialog_instruct.sources.base import KeepSubject


def count(job: int, reader: Reader, keep: KeepSubject, tick: Tick) -> tuple[int, list[str]]:
    studies = [study.study_id for study in reader.studies(keep)]
    tick(len(studies))
    return job, studies


def fail(job: int, _reader: Reader, _keep: KeepSubject, _tick: Tick) -> None:
    if job == 2:
        raise UsageError("wrong", where="there", mend="so")


def die(job: int, _reader: Reader, _keep: KeepSubject, _tick: Tick) -> None:
    if job == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_on_its_shard_and_progress_is_told(workers: int) -> None:
    told: list[int] = []
    jobs: list[tuple[int, Any]] = [(n, n * 10) for n in range(5)]
    with Crew(open_source("demo"), 5, workers, told.append) as crew:
        results = dict(crew.run(count, jobs))
        again = dict(crew.run(count, jobs[:2]))
    assert {n: job for n, (job, _) in results.items()} == dict(jobs)
    everything = [study for _, studies in results.values() for study in studies]
    assert len(everything) == len(set(everything)) == 60
    assert again == {n: results[n] for n in (0, 1)}
    assert sum(told) == 60 + sum(len(studies) for _, studies in again.values())


def test_an_error_in_a_process_is_raised_as_it_was() -> None:
    with pytest.raises(UsageError, match=r"there: wrong\. so"), Crew(open_source("demo"), 4, 2, lambda _: None) as crew:
        list(crew.run(fail, [(n, n) for n in range(4)]))


def test_a_process_that_dies_ends_the_work_with_a_clear_error() -> None:
    start = time.monotonic()
    with pytest.raises(DataError, match="a worker process died"), Crew(open_source("demo"), 4, 2, lambda _: None) as crew:
        list(crew.run(die, [(n, n) for n in range(4)]))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.2])
def test_ctrl_c_ends_a_build_of_several_processes_at_once(tmp_path: Path, delay: float) -> None:
    """Whenever it comes, nothing hangs, nothing is left running, and the same command finishes the build."""
    command = [sys.executable, "-m", "radialog_instruct.cli", "build", "--mixture", "full", "--workers", "2"]
    command += ["--shards", "40", "--out", str(tmp_path / "d")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl+C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "d").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)  # would wait for any process that still holds the pipe
    assert process.returncode in (130, 0)
    if process.returncode == 130:
        assert error.startswith("radialog-instruct: interrupted; resume with: ") or "resume with" in error
        assert "Traceback" not in error
    finished = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert not list(tmp_path.rglob("*.tmp"))
