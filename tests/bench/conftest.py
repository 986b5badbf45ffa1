from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from radialog_bench.cli import app
from radialog_instruct.terminal import run_app


def bench(*arguments: str | Path) -> int:
    """Run ``radialog-bench`` in this process and return its exit code."""
    return run_app(app, "radialog-bench", [str(argument) for argument in arguments])


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; a dotted path is written with double underscores."""
    document = read(path)
    for name, value in changes.items():
        *folders, key = name.split("__")
        target = document
        for folder in folders:
            target = target[folder]
        target[key] = value
    path.write_text(json.dumps(document))


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the finished runs ``constant`` and ``retrieval`` on the demo; tests must not change them."""
    folder = tmp_path_factory.mktemp("demo_runs")
    for model in ("constant", "retrieval"):
        assert bench("run", "-m", model, "-o", folder / model, "--bootstrap", "20") == 0
    return folder
