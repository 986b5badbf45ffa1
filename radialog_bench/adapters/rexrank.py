"""ReXrank's contract for report generation: a program with three options, a JSON file in and one out.

The input maps a study's key to ``image_path`` (a list), ``key_image_path``, ``frontal_lateral`` and ``context``; the
program writes the same mapping with ``model_prediction`` added. Source: the leaderboard's submission guideline and its
example programs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from radialog_bench.chat import Request, Response
from radialog_instruct.errors import ModelError

TASK = "report_generation"
ROOT = "/"
"""Image paths are given relative to it, so that programs may join the two with or without a slash."""
_SECTION = re.compile(r"\b(findings|impression)\s*:", re.IGNORECASE)


def answers(command: Sequence[str], requests: list[Request], timeout: float, section: str) -> Iterator[Response]:
    """Run the program over a batch.

    Args:
        command: The program and its own arguments.
        requests: The batch; other tasks than report generation fail, and so do requests without an image.
        timeout: Seconds the program may take.
        section: ``all``, or ``findings``.

    Raises:
        ModelError: If it cannot be started, or writes no mapping.
    """
    asked: dict[str, Request] = {}
    for request in requests:
        if request.task != TASK or len(request.messages) > 1:
            why = f"ReXrank's contract knows report generation only, not {request.task}"
            yield Response.failure(request.id, "missing", why)
        elif not request.images:
            yield Response.failure(request.id, "image", "ReXrank's contract needs an image")
        else:
            asked[f"{len(asked):06d}"] = request
    if not asked:
        return
    with tempfile.TemporaryDirectory(prefix="rexrank-") as folder:
        source, target = Path(folder) / "input.json", Path(folder) / "output.json"
        entries = {key: study_entry(request) for key, request in asked.items()}
        source.write_text(json.dumps(entries, ensure_ascii=False, indent=1), encoding="utf-8")
        options = ["--input_json_file", str(source), "--save_json_file", str(target), "--img_root_dir", ROOT]
        failure = _ended([*command, *options], timeout)
        written = _written(target, command[0])
    for key, request in asked.items():
        text = written.get(key)
        if text is not None:
            yield Response(request.id, findings_of(text) if section == "findings" else text)
        elif failure is not None:
            yield Response.failure(request.id, "timeout" if failure.startswith("no end") else "adapter", failure)
        else:
            yield Response.failure(request.id, "missing", "the program wrote no model_prediction for it")


def study_entry(request: Request) -> dict[str, Any]:
    """Return one study of the input file."""
    paths = [str(image.path.resolve()).removeprefix(ROOT) for image in request.images]
    indication = request.indication or "None."
    return {
        "image_path": paths,
        "key_image_path": paths[0],
        "frontal_lateral": ["Frontal"] * len(paths),
        "context": f"Indication: {indication} Comparison: None.",
    }


def findings_of(text: str) -> str:
    """Return the findings of a report with headings; a report without them as it is."""
    marks = list(_SECTION.finditer(text))
    for place, mark in enumerate(marks):
        if mark[1].lower() == "findings":
            end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
            return text[mark.end() : end].strip()
    return text


def _ended(command: list[str], timeout: float) -> str | None:
    """Run the program to its end; return what went wrong."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise ModelError(f"cannot be started: {error.strerror}", where=command[0], mend="check --model") from error
    try:
        _, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"no end within {timeout:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode == 0:
        return None
    last = " ".join(stderr.decode(errors="replace").split())[-300:]
    return f"the program ended with code {process.returncode}: {last}"


def _written(target: Path, program: str) -> dict[str, str]:
    """Return the predictions in the output file; what a killed program saved before counts."""
    if not target.is_file():
        return {}
    try:
        content = json.loads(target.read_text(encoding="utf-8"))
    except ValueError:
        # Cut short while it was written: the studies in it cannot be told from garbage.
        return {}
    if not isinstance(content, dict):
        mend = "write a mapping from the studies' keys to objects with model_prediction"
        raise ModelError(f"the output file holds a {type(content).__name__}", where=program, mend=mend)
    return {
        key: entry["model_prediction"]
        for key, entry in content.items()
        if isinstance(entry, dict) and isinstance(entry.get("model_prediction"), str)
    }
