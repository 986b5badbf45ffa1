"""A program that answers requests as JSON lines, held open between batches, killed when it hangs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

from radialog_instruct.errors import ModelError

_KEPT = 20
"""Lines of the program's stderr that a failure shows."""


class WorkerLost(Exception):  # noqa: N818 - it reads as what happened
    """The program hung or ended before it had answered.

    Args:
        hung: Whether it was killed after a silence.
        message: What happened, with the end of its stderr.
    """

    def __init__(self, hung: bool, message: str) -> None:
        super().__init__(message)
        self.hung = hung


class Worker:
    """One running program.

    Args:
        command: The program and its arguments.
        timeout: Seconds without an answer after which it counts as hung.

    Raises:
        ModelError: If it cannot be started.
    """

    def __init__(self, command: Sequence[str], timeout: float) -> None:
        self._command, self._timeout = command, timeout
        try:
            # A session of its own, so that what the program started is killed with it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            what = f"cannot be started: {error.strerror}"
            raise ModelError(what, where=command[0], mend="check --model script:COMMAND") from error
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=_KEPT)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._keep, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def ask(self, records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Write requests and yield answers until each has one.

        Raises:
            WorkerLost: If the program hangs or ends; what it answered was yielded before.
            ModelError: If it writes something else than answers.
        """
        open_ids = {str(record["id"]) for record in records}
        data = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
        # Written beside the reading: a program may answer before it has read everything.
        threading.Thread(target=self._write, args=(data,), daemon=True).start()
        deadline = time.monotonic() + self._timeout
        while open_ids:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.kill()
                raise WorkerLost(True, f"no answer within {self._timeout:g} s{self._stderr()}") from None
            if line is None:
                code = self._process.wait()
                self._readers[1].join(timeout=1)
                raise WorkerLost(False, f"the program ended with code {code}{self._stderr()}")
            if not line.strip():
                continue
            answer = self._parsed(line)
            if answer["id"] not in open_ids:
                raise self._broken(f"an answer to {answer['id']!r}, which was not asked or was answered already")
            open_ids.discard(answer["id"])
            deadline = time.monotonic() + self._timeout
            yield answer

    def kill(self) -> None:
        """End the program and what it started; a second call does nothing."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self, patience: float = 10.0) -> None:
        """Close the program's input and let it end by itself; kill it if it does not."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience)
        self.kill()

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise self._broken(f"{line[:80].decode(errors='replace').strip()!r}, no JSON object with an id")
        return answer

    def _broken(self, what: str) -> ModelError:
        self.kill()
        mend = "write one answer a line to stdout, and everything else to stderr"
        return ModelError(f"the program wrote {what}", where=self._command[0], mend=mend)

    def _stderr(self) -> str:
        return "; its last words: " + " | ".join(self._last) if self._last else ""

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # the program is gone, which its stdout tells
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read(self, stdout: IO[bytes]) -> None:
        for line in stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _keep(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            if text := line.decode(errors="replace").strip():
                self._last.append(text[:200])
