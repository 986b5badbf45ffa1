"""Kills a build at random points, runs it again, and compares the bytes with those of an undisturbed build.

python benchmarks/kill_resume.py TREE SCRATCH benchmarks/results/kill_resume.json [--kills 5] [--seed 0]

TREE is a synthetic tree (radialog-instruct synth-mimic --images none). The kill is SIGKILL to the whole process group,
at a random time within the undisturbed build's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from build_scale import command
from machine import describe


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a dataset."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def killed_after(arguments: list[str], seconds: float) -> bool:
    """Run a command and kill it; tell whether it was still running."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def main(tree: Path, scratch: Path, output: Path, kills: int, seed: int) -> None:
    """Measure and write the result."""
    undisturbed, disturbed = scratch / "undisturbed", scratch / "disturbed"
    for folder in (undisturbed, disturbed):
        shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    subprocess.run(command(tree, undisturbed, 2), check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    print(f"undisturbed: {whole:.1f} s", flush=True)
    draw = random.Random(seed)
    points: list[dict[str, Any]] = []
    while len(points) < kills:
        after = draw.uniform(0.03, 0.95) * whole
        if not killed_after(command(tree, disturbed, 2), after):
            # It ended before the kill: what was killed so far has been compared below, so a new one is begun.
            compare(undisturbed, disturbed)
            shutil.rmtree(disturbed)
            continue
        manifest = disturbed / "manifest.json"
        done = len(json.loads(manifest.read_text())["shards"]) if manifest.is_file() else 0
        points.append({"after_seconds": round(after, 1), "shards_done": done})
        print(json.dumps(points[-1]), flush=True)
    start = time.perf_counter()
    subprocess.run(command(tree, disturbed, 2), check=True, stdout=subprocess.DEVNULL)
    last = time.perf_counter() - start
    files = compare(undisturbed, disturbed)
    result = {
        "machine": describe(),
        "rows": json.loads((undisturbed / "manifest.json").read_text())["planned"],
        "undisturbed_seconds": round(whole, 1),
        "kills": points,
        "last_run_seconds": round(last, 1),
        "files": files,
        "identical": True,
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{files} files, all identical")


def compare(undisturbed: Path, disturbed: Path) -> int:
    """Compare two datasets and return their number of files; end the program when a byte differs."""
    expected, found = digests(undisturbed), digests(disturbed)
    different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if different:
        sys.exit(f"these differ: {different[:20]}")
    return len(expected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.tree, given.scratch, given.output, given.kills, given.seed)
