"""``vllm serve`` as a child process that never outlives its parent."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from radialog_instruct.errors import ModelError, missing_extra
from radialog_instruct.prompts import default_prompts

_PATIENCE = 900.0
"""Seconds a server may take to load its weights."""
_GRACE = 30.0
"""Seconds it has to end by itself."""
_PR_SET_PDEATHSIG = 1


@contextmanager
def vllm_child(
    folder: Path, *, dtype: str | None, arguments: Sequence[str] = ()
) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Serve a checkpoint with vLLM on a free port of this machine while the context lasts.

    Args:
        folder: The checkpoint.
        dtype: Type of the weights; vLLM's own choice by default.
        arguments: Further arguments of ``vllm serve``.

    Yields:
        The address up to and including ``/v1``, and whether the process still runs.

    Raises:
        UsageError: If vLLM is not installed.
        ModelError: If it does not come up.
    """
    beside = Path(sys.executable).with_name("vllm")
    program = str(beside) if beside.is_file() else shutil.which("vllm")
    if program is None:
        raise missing_extra("vllm", "vllm")
    port = _free_port()
    command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "r"]
    # vLLM has no code of its own for the tower; and the sampling settings of a checkpoint must not hold.
    command += ["--model-impl", "transformers", "--generation-config", "vllm"]
    # Prompts are sent as messages; a checkpoint's own template may be older and not read them in parts.
    command += ["--chat-template", str(default_prompts().folder / "chat" / "vicuna.jinja")]
    command += ["--chat-template-content-format", "openai"]
    command += ["--dtype", dtype] if dtype else []
    parent = os.getpid()
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=sys.stderr,
        start_new_session=True,  # Ctrl+C reaches it through us, once what is under way has ended
        preexec_fn=lambda: _die_with(parent),
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1", lambda: process.poll() is None
    finally:
        _end(process)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own child's address
                return
        except OSError:
            if time.monotonic() > deadline:
                raise ModelError("vllm serve does not become ready", mend="see its messages above") from None
            time.sleep(0.5)
    raise ModelError(f"vllm serve ended with code {process.returncode}", mend="see its messages above")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all it started."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its own session: engines that are still there
    process.wait()


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent is killed; elsewhere than on Linux nothing can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
