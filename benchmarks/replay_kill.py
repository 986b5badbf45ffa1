"""Kills a replay with SIGKILL in the middle, starts it again, and counts what it asked for.

python benchmarks/replay_kill.py RESULT.json NAME -- OPTIONS of radialog-instruct replay (without --out)

No request with a committed answer may be sent again, and the dataset built from the cache must have the bytes of one
that is built from an export of it. One entry is added to the result under NAME.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from machine import describe

from radialog_instruct.errors import RadialogError
from radialog_instruct.replay.folder import Answers, answer_files, open_answers
from radialog_instruct.replay.transfer import export_answers

PROGRAM = [sys.executable, "-m", "radialog_instruct.cli"]


def committed(folder: Path) -> int:
    """Return the number of answers another process would find now."""
    try:
        with Answers(folder) as answers:
            return len(answers)
    except RadialogError:
        return 0


def digest(folder: Path) -> str:
    """Return a hash over all files of a dataset."""
    hasher = sha256()
    for path in sorted(folder.rglob("*.*")):
        hasher.update(f"{path.relative_to(folder)} ".encode() + path.read_bytes())
    return hasher.hexdigest()


def build(out: Path, replay: Path) -> str:
    """Build the demo dataset and return its digest."""
    command = [*PROGRAM, "build", "--mixture", "full", "--out", str(out), "--replay", str(replay)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return digest(out)


def main(output: Path, name: str, options: list[str]) -> None:
    """Kill, rerun, count and write the result."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "replay"
        command = [*PROGRAM, "replay", "--mixture", "full", "--out", str(folder), "--json", *options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, **quiet, start_new_session=True)
        while process.poll() is None and committed(folder) < 8:
            time.sleep(0.25)
        running = process.poll() is None
        os.killpg(process.pid, signal.SIGKILL) if running else None
        process.wait()
        kept = committed(folder)
        start = time.perf_counter()
        again = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        summary = json.loads(again.stdout[again.stdout.index(b"{") :])
        total = committed(folder)
        copy = Path(scratch) / "copy"
        copy.mkdir()
        (copy / "replay.json").write_bytes((folder / "replay.json").read_bytes())
        (cache,) = answer_files(folder)
        with open_answers(cache) as opened:
            export_answers(opened, copy / "answers.jsonl")
        equal = build(Path(scratch) / "a", folder) == build(Path(scratch) / "b", copy)
        entry = {
            "options": options,
            "killed_in_the_middle": running,
            "answers_committed_when_killed": kept,
            "requests_of_the_second_run": summary["asked"],
            "answers_in_the_end": total,
            "asked_twice": summary["answered"] - (total - kept),
            "unanswered": summary["unanswered"],
            "seconds_of_the_second_run": round(seconds, 1),
            "dataset_equal_to_one_from_an_export": equal,
            "machine": describe(),
        }
    results = json.loads(output.read_text()) if output.is_file() else {}
    output.write_text(json.dumps({**results, name: entry}, indent=2) + "\n")
    print(json.dumps(entry, indent=2))


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[3] != "--":
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[4:])
