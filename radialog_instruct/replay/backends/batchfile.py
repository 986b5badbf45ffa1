"""Batch files: requests as JSON lines for ``vllm run-batch`` and every service that takes OpenAI's batch format.

A run writes what is missing to ``batch/NNN-requests.jsonl`` and ends; some engine turns it into ``NNN-results.jsonl``;
the next run takes the answers in and writes what is missing then. With a command given, both happen in one run.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.files import replacing
from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.request import KEY_BYTES, ReplayRequest, Sampling

_NAME = re.compile(r"(\d{3,})-(requests|results)\.jsonl")
WAITING = "waits in a batch file"
_STDERR = 2


@dataclass(frozen=True)
class BatchSettings:
    """Where batch files lie and who runs them.

    Attributes:
        folder: Folder of the files.
        model: Name under which the engine knows the model.
        command: Command with ``{input}`` and ``{output}`` that runs a file, or None to leave that to the user.
        engine: The engine's name and version, as they are recorded.
    """

    folder: Path
    model: str
    command: str | None = None
    engine: str = "unknown"


class BatchFileBackend:
    """Writes and reads batch files.

    Args:
        settings: Where, and who runs them.

    Raises:
        UsageError: If the command lacks its places.
    """

    name = "batchfile"

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings
        command = settings.command
        if command is not None and not ("{input}" in command and "{output}" in command):
            mend = "for example: vllm run-batch -i {input} -o {output} --model NAME"
            raise UsageError("the command lacks {input} or {output}", where="--batch-command", mend=mend)

    def version(self) -> str:
        """Return what the user says of the engine."""
        return self._settings.engine

    def versions(self) -> dict[str, str]:
        """Return nothing: the file does not say."""
        return {}

    def recovered(self) -> Iterator[tuple[Sampling, Result]]:
        """Yield the answers of all result files; a line that was cut short ends its file."""
        for requests, results in self._files():
            if results.is_file():
                samplings = dict(_samplings(requests))
                for result in _results(results):
                    if result.key in samplings and result.text is not None:
                        yield samplings[result.key], result

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Write the requests to a file, run it where a command was given, and yield what came back.

        Raises:
            UsageError: If the file cannot be written.
            ModelError: If the command failed.
        """
        path, output = self._next()
        keys = self._write(path, requests)
        if self._settings.command is None:
            for key in keys:
                yield Result(key, None, failure=f"{WAITING}: {path}")
            return
        failed = self._run(path, output)
        left = dict.fromkeys(keys)
        for result in _results(output):
            if result.key in left:
                del left[result.key]
                yield result
        if failed is not None:
            raise failed
        for key in left:
            yield Result(key, None, failure="no line in the batch's results")

    def close(self) -> None:
        """Do nothing."""

    def _files(self) -> list[tuple[Path, Path]]:
        """Return the pairs of request and result file, in order."""
        folder = self._settings.folder
        names = folder.iterdir() if folder.is_dir() else ()
        numbers = sorted({int(m[1]) for p in names if (m := _NAME.fullmatch(p.name))})
        return [self._pair(number) for number in numbers]

    def _next(self) -> tuple[Path, Path]:
        """Return the first pair without results: requests that nobody has run are written anew."""
        for requests, results in self._files():
            if not results.is_file():
                return requests, results
        last = self._files()
        return self._pair(1 + (int(last[-1][0].name.split("-")[0]) if last else 0))

    def _pair(self, number: int) -> tuple[Path, Path]:
        folder = self._settings.folder
        return folder / f"{number:03d}-requests.jsonl", folder / f"{number:03d}-results.jsonl"

    def _write(self, path: Path, requests: Iterable[ReplayRequest]) -> list[bytes]:
        keys = []
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
            for request in requests:
                line = {
                    "custom_id": request.key.hex(),
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": request.body(self._settings.model),
                }
                handle.write(json.dumps(line, ensure_ascii=False) + "\n")
                keys.append(request.key)
        return keys

    def _run(self, path: Path, output: Path) -> ModelError | None:
        command = self._settings.command
        assert command is not None
        places = {"input": str(path), "output": str(output)}
        words = [word.format(**places) for word in shlex.split(command)]
        try:
            # The engine's own output must not mix with the summary on stdout.
            status = subprocess.run(words, check=False, stdout=_STDERR).returncode
        except OSError as error:
            return ModelError(f"cannot run: {error.strerror}", where=words[0], mend="check --batch-command")
        if status:
            return ModelError(f"the batch command ended with {status}", where=words[0], mend="see its output above")
        return None


def _samplings(path: Path) -> Iterator[tuple[bytes, Sampling]]:
    for line in _lines(path):
        body = line.get("body", {})
        try:
            sampling = Sampling(temperature=body["temperature"], top_p=body["top_p"], max_tokens=body["max_tokens"])
            yield bytes.fromhex(line["custom_id"]), sampling
        except (KeyError, ValueError, TypeError):
            continue  # not one of ours: its results are not ours either


def _results(path: Path) -> Iterator[Result]:
    """Yield the results of a file; a failed request has its error."""
    for line in _lines(path):
        try:
            key = bytes.fromhex(line["custom_id"])
            if len(key) != KEY_BYTES:
                continue
            response = line.get("response") or {}
            body = response.get("body") or {}
            if line.get("error") or response.get("status_code", 200) != 200:
                yield Result(key, None, failure=f"the batch reports: {_brief(line.get('error') or body)}")
                continue
            choice, usage = body["choices"][0], body.get("usage") or {}
            text, finish = choice["message"]["content"], choice["finish_reason"]
            if not isinstance(text, str) or finish not in ("stop", "length"):
                yield Result(key, None, failure="the batch's line holds no answer")
                continue
            tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError):
            continue  # a line without an id we know: its request counts as unanswered
        yield Result(key, text, finish, *tokens)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as handle:
            for line in handle:
                try:
                    value = json.loads(line)
                except ValueError:
                    continue  # cut short by a kill: its request counts as unanswered
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return


def _brief(value: object) -> str:
    return " ".join(str(value).split())[:200]
