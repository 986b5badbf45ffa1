"""The response log: every answer is written before its dialog goes on, so a killed run asks nothing twice."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from radialog_bench.chat import Failure, Message, Request, Response
from radialog_instruct.errors import DataError, UsageError

Index = dict[bytes, tuple[Path, int]]
"""Where answers stand: the key's bytes -> the file and the place in it."""

SYNC_SECONDS = 0.2
"""At most this often the disk is waited for: a batch of a model takes longer, one from memory does not."""


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


def messages_hash(messages: Sequence[Message]) -> str:
    """Return the hash of a request's neutral messages: what was asked, however an adapter wrote it."""
    turns = [[message.role, message.content] for message in messages]
    return sha256(json.dumps(turns).encode()).hexdigest()


class ResponseLog:
    """An append-only file of responses, one JSON object a line.

    A last line cut short by a crash is removed when the log is opened; damage anywhere else is an error. Failures are
    logged for the record and asked again by the next run. Held in memory is where each earlier answer stands, not the
    answers.

    Attributes:
        repaired: Whether a last line cut short was removed.
        usage: Sums of what the adapter counted in the responses added here.

    Args:
        path: The file.
        known: Where answers stand, shared with the other logs of a run: a report that several evaluations ask for is
            asked once. Without it, what is added is not remembered.

    Raises:
        DataError: If a line other than the last is damaged.
        UsageError: If the file cannot be written.
    """

    def __init__(self, path: Path, known: Index | None = None) -> None:
        self.path = path
        self.repaired = False
        self.usage: Counter[str] = Counter()
        self._known: Index = {} if known is None else known
        self._shared = known is not None
        self._others: dict[Path, BinaryIO] = {}
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
        for handle in (self._handle, *self._others.values()):
            handle.close()

    def get(self, key: str) -> Response | None:
        """Return the logged answer of a request, or None; a failure is no answer."""
        place = self._known.get(bytes.fromhex(key))
        if place is None:
            return None
        path, offset = place
        if path != self.path and path not in self._others:
            self._others[path] = path.open("rb")
        handle = self._others.get(path, self._handle)
        handle.seek(offset)
        return _parse(handle.readline())[1]

    def add(self, key: str, request: Request, rendered: Sequence[Message], response: Response) -> None:
        """Append a response; ``settle`` hands it to the system."""
        record: dict[str, Any] = {
            "key": key,
            "id": response.id,
            "task": request.task,
            "turn": request.turn,
            "neutral": messages_hash(request.messages),
            "messages": [{"role": message.role, "content": message.content} for message in rendered],
            "text": response.text,
        }
        if response.error is not None:
            record["error"] = {"kind": response.error.kind, "message": response.error.message}
        if response.usage:
            record["usage"] = dict(response.usage)
            self.usage.update(response.usage)
        if response.notes:
            record["notes"] = dict(response.notes)
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        self._handle.write(line)
        if self._shared and response.error is None:
            self._known[bytes.fromhex(key)] = self.path, self._end
        self._end += len(line)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def settle(self) -> None:
        """Hand everything added so far to the system, where a killed process loses nothing, and sync if it is time."""
        self._handle.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force everything added so far to the disk, where a crash of the machine loses nothing."""
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
                digest = bytes.fromhex(key)
            except (ValueError, KeyError, TypeError) as error:
                if self._handle.read(1):
                    where, mend = f"{self.path}:{number}", "remove the line, or the run folder"
                    raise DataError(f"the response log is damaged ({error})", where=where, mend=mend) from error
                self._handle.truncate(good)
                self.repaired = True
                break
            if response.error is None:
                self._known[digest] = self.path, good
            good += len(line)
        self._end = self._handle.seek(0, os.SEEK_END)


def _parse(line: bytes) -> tuple[str, Response]:
    record = json.loads(line)
    error = Failure(record["error"]["kind"], record["error"]["message"]) if "error" in record else None
    if (record["text"] is None) == (error is None) or not isinstance(record["text"], str | None):
        raise ValueError("neither a text nor an error")
    return record["key"], Response(record["id"], record["text"], error, record.get("usage", {}))
