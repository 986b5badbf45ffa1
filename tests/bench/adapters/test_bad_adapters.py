"""Adapters that misbehave, through the command line: counted, shown, the right exit code; nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radialog_bench.chat import MESSAGE_LIMIT, Response
from radialog_bench.cli import app
from radialog_bench.watchdog import AdapterHungError, watched
from radialog_instruct.terminal import run_app
from tests.bench.adapters.asking import answers, request

HEAD = (
    "from radialog_bench import Response\n\n\nclass M:\n    needs_images = False\n\n    def generate(self, requests):\n"
)
BODIES = {
    "raises": "raise RuntimeError('CUDA error')",
    "raises late": "yield Response(requests[0].id, 'Clear.')\n        raise RuntimeError('CUDA error')",
    "too few": "return [Response(r.id, 'Clear.') for r in requests[1:]]",
    "not responses": "return ['Clear.' for r in requests]",
    "nothing": "return None",
    "no text": "return [Response(r.id, 5) for r in requests]",
    "empty": "return [Response(r.id, '') for r in requests]",
    "huge": "return [Response(r.id, 'Clear lungs. ' * 100_000) for r in requests]",
    "half a character": "return [Response(r.id, 'Clear \\ud800') for r in requests]",
}


def run(
    tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, str, dict[str, Any]]:
    (tmp_path / "m.py").write_text(HEAD + "        " + body + "\n")
    arguments = ["run", "-m", f"{tmp_path / 'm.py'}:M", "-o", str(tmp_path / "r"), "--limit", "4", "--bootstrap", "0"]
    code = run_app(app, "radialog-bench", [*arguments, "-e", "report_generation", *options])
    results = tmp_path / "r" / "results.json"
    part = json.loads(results.read_text())["evaluations"].get("report_generation", {}) if results.is_file() else {}
    return code, capsys.readouterr().err, part


def logged(tmp_path: Path, evaluation: str = "report_generation") -> list[dict[str, Any]]:
    lines = (tmp_path / "r" / "responses" / f"{evaluation}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("body", "code", "failed", "message"),
    [
        ("raises", 5, 4, "CUDA error"),
        ("raises late", 1, 3, "CUDA error"),
        ("empty", 0, 0, ""),
        ("half a character", 5, 4, "not valid Unicode"),
    ],
)
def test_failures_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, code: int, failed: int, message: str
) -> None:
    got, stderr, part = run(tmp_path, BODIES[body], capsys)
    assert got == code, stderr
    assert (part["n"], part["n_error"]) == (4, failed)
    assert message in stderr


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("too few", 4, "left 1 of 4 requests without a response"),
        ("not responses", 4, "returned str instead of Response"),
        ("no text", 4, "neither a text nor a failure"),
    ],
)
def test_a_broken_contract_ends_the_run_and_keeps_the_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, code: int, message: str
) -> None:
    got, stderr, part = run(tmp_path, BODIES[body], capsys)
    assert got == code
    assert message in stderr
    assert part == {}
    assert len(logged(tmp_path)) == (3 if body == "too few" else 0)


def test_generate_without_a_return_is_a_failure_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, stderr, part = run(tmp_path, BODIES["nothing"], capsys)
    assert (code, part["n_error"]) == (5, 4)
    assert "'NoneType' object is not iterable" in stderr


def test_megabyte_answers_are_kept_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Views are read by a pattern; a report of that length costs the text metrics their time.
    code, stderr, _ = run(tmp_path, BODIES["huge"], capsys, "-e", "view_classification")
    assert code == 0, stderr
    assert {len(record["text"]) for record in logged(tmp_path, "view_classification")} == {1_300_000}


def test_a_failure_s_message_is_cut_and_readable() -> None:
    error = Response.failure("a", "adapter", "\ud800" + "x" * 10_000).error
    assert error is not None
    assert error.message == "?" + "x" * (MESSAGE_LIMIT - 1) + "…"


HANGS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from radialog_bench import Response

class M:
    needs_images = False
    def generate(self, requests):
        yield Response(requests[0].id, "The lungs are clear.")
        ThreadPoolExecutor(1).submit(threading.Event().wait).result()
    def close(self):
        pass
"""


def test_a_model_that_hangs_ends_the_run_and_resumes(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(HANGS)
    command = [
        sys.executable,
        "-m",
        "radialog_bench.cli",
        "run",
        "-m",
        f"{tmp_path / 'm.py'}:M",
        "-o",
        str(tmp_path / "r"),
    ]
    options = ["-e", "report_generation", "--limit", "4", "--bootstrap", "0", "--timeout", "1"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "gave no answer within 1 s" in done.stderr.splitlines()[-1]
    kinds = [record.get("error", {}).get("kind") for record in logged(tmp_path)]
    assert kinds == [None, "timeout", "timeout", "timeout"]
    again = subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)
    assert again.returncode == 1
    assert [r.get("error", {}).get("kind") for r in logged(tmp_path)][4:] == [None, "timeout", "timeout"]


def test_the_watch_passes_items_and_errors_on() -> None:
    assert list(watched(lambda: range(3), 5)) == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        list(watched(lambda: (1 // n for n in (1, 0)), 5))


def test_a_none_is_no_sign_of_life() -> None:
    def nothing_comes() -> Iterator[int | None]:
        yield 1
        while True:
            time.sleep(0.05)
            yield None

    got: list[int | None] = []
    with pytest.raises(AdapterHungError):
        got.extend(iter(watched(nothing_comes, 1.0)))
    items = watched(nothing_comes, 1.0)
    assert next(items) == 1
    assert next(items) is None


def test_nothing_is_drawn_while_the_caller_works() -> None:
    drawn: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(3):
            drawn.append(n)
            yield n

    for n in watched(numbers, 5):
        time.sleep(0.05)
        assert drawn == list(range(n + 1))


def test_a_watched_adapter_that_is_slow_but_alive_is_left_alone() -> None:
    class Slow:
        name = "slow"

        def generate(self, requests: list[Any]) -> Any:
            for r in requests:
                time.sleep(0.4)
                yield Response(r.id, "ok")

    got = answers(Slow(), [request(str(n)) for n in range(4)], timeout=1.2)  # type: ignore[arg-type]
    assert [got[str(n)].text for n in range(4)] == ["ok"] * 4
    with pytest.raises(AdapterHungError, match="within 0.05 s"):
        answers(Slow(), [request("a")], timeout=0.05)  # type: ignore[arg-type]
