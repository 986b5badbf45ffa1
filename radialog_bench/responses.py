"""The response log: every answer is on disk before a dialog goes on, so a killed run asks nothing twice."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from radialog_bench.chat import Failure, Message, Request, Response
from radialog_instruct.errors import DataError, UsageError

SYNC_SECONDS = 0.2
"""An answer is synced at the end of its batch, or after this long within a slow one."""


def request_key(fingerprint: str, request: Request, rendered: Sequence[Message]) -> str:
    """Return the identity of a request: the same key means the same answer.

    It covers the model's fingerprint, the request's id, the decoding settings, the messages as the model reads them,
    and the bytes of the images.

    Args:
        fingerprint: The model's fingerprint.
        request: The request.
        rendered: Its messages as the adapter renders them.
    """
    generation = request.generation
    identity = {
        "fingerprint": fingerprint,
        "id": request.id,
        "generation": [generation.max_new_tokens, generation.temperature, list(generation.stop)],
        "messages": [[message.role, message.content] for message in rendered],
        "images": [image.sha256 for image in request.images],
        "indication": request.indication,
    }
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


class ResponseLog:
    """An append-only file of responses, one JSON object a line.

    A last line cut short by a crash is removed when the log is opened; damage anywhere else is an error. Failures are
    logged for the record and asked again by the next run.

    Args:
        path: The file.
        known: Answers by key that are shared with the other logs of a run: a report that several evaluations ask for is
            asked once.

    Raises:
        DataError: If a line other than the last is damaged.
        UsageError: If the file cannot be written.
    """

    def __init__(self, path: Path, known: dict[str, Response] | None = None) -> None:
        self.path = path
        self.repaired = False
        self._answers: dict[str, Response] = {} if known is None else known
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = path.open("a+b")
        except OSError as error:
            mend = "choose another --output-dir"
            raise UsageError(f"cannot write: {error.strerror}", where=str(path), mend=mend) from error
        self._read()
        self._synced = time.monotonic()

    def __enter__(self) -> ResponseLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sync()
        self._handle.close()

    def get(self, key: str) -> Response | None:
        """Return the logged answer of a request, or None; a failure is no answer."""
        return self._answers.get(key)

    def add(self, key: str, request: Request, rendered: Sequence[Message], response: Response) -> None:
        """Append a response; it is durable after the next ``sync``."""
        record: dict[str, Any] = {
            "key": key,
            "id": response.id,
            "task": request.task,
            "turn": request.turn,
            "messages": [{"role": message.role, "content": message.content} for message in rendered],
            "text": response.text,
        }
        if response.error is not None:
            record["error"] = {"kind": response.error.kind, "message": response.error.message}
        if response.usage:
            record["usage"] = dict(response.usage)
        self._handle.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        if response.error is None:
            self._answers[key] = response
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force everything added so far to the disk."""
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._synced = time.monotonic()

    def _read(self) -> None:
        self._handle.seek(0)
        good = 0
        for number, line in enumerate(self._handle, start=1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("cut short")
                key, response = _parse(line)
            except (ValueError, KeyError, TypeError) as error:
                if self._handle.read(1):
                    where, mend = f"{self.path}:{number}", "remove the line, or the run folder"
                    raise DataError(f"the response log is damaged ({error})", where=where, mend=mend) from error
                self._handle.truncate(good)
                self.repaired = True
                break
            good += len(line)
            if response.error is None:
                self._answers[key] = response
        self._handle.seek(0, os.SEEK_END)


def _parse(line: bytes) -> tuple[str, Response]:
    record = json.loads(line)
    error = Failure(record["error"]["kind"], record["error"]["message"]) if "error" in record else None
    return record["key"], Response(record["id"], record["text"], error, record.get("usage", {}))
