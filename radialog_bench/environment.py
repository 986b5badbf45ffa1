"""Where a run was made: software, source and machine, for ``run.json``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("radialog", "numpy", "nltk", "pydantic", "pillow", "torch", "transformers", "vllm", "ray")
"""What a score or an answer can depend on."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed, and the platform."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, str | bool] | None:
    """Return commit and cleanness of the checkout this package lies in, or None where it is installed."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None  # installed into somebody else's repository
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, str]:
    """Return processor, cores, memory, and the accelerator where torch is loaded and sees one."""
    found = {"processor": _processor(), "cores": str(os.cpu_count() or 1)}
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory"] = f"{total / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        pass  # not every platform tells
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        count = torch.cuda.device_count()
        found["accelerator"] = f"{count} x {torch.cuda.get_device_name(0)}"
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
