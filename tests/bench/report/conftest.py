from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from radialog_bench.cli import app
from radialog_instruct.terminal import run_app

HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'> & \"quotes\""


EVALUATIONS = "report_generation,correction,findings_qa,rad_restruct,impression,view_classification"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run whose answers are hostile HTML, empty, or failed."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "m.py").write_text(
        "from radialog_bench import Response\nclass M:\n    name = 'hostile'\n    notices = ('A notice & a <b>tag</b>.',)\n"
        "    def generate(self, requests):\n        for n, r in enumerate(requests):\n"
        f"            text = [{HOSTILE!r}, '', 'AP. Cardiomegaly.'][n % 3]\n"
        "            failed = r.id.endswith('nih-00029696_000')\n"
        "            yield Response.failure(r.id, 'adapter', 'secret <i>why</i>') if failed else Response(r.id, text)\n"
    )
    command = ("run", "-m", f"{folder / 'm.py'}:M", "-e", EVALUATIONS, "-o", str(folder / "run"), "--bootstrap", "100")
    assert run_app(app, "radialog-bench", command) == 1
    return folder / "run"


@pytest.fixture(scope="session")
def pages(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of each kind: a run's, a comparison's, a leaderboard's."""
    folder = tmp_path_factory.mktemp("pages")
    constant, comparison, board = folder / "constant", folder / "comparison.html", folder / "leaderboard.html"
    command = ("run", "-m", "constant", "-e", EVALUATIONS, "-o", str(constant), "--bootstrap", "100")
    assert run_app(app, "radialog-bench", command) == 0
    command = ("compare", str(constant), str(finished), "--resamples", "100", "--html", str(comparison))
    assert run_app(app, "radialog-bench", (*command, "-o", str(folder / "comparison.json"))) == 0
    command = ("leaderboard", str(constant), str(finished), "--html", str(board))
    assert run_app(app, "radialog-bench", command) == 0
    return {"report": finished / "report.html", "comparison": comparison, "leaderboard": board}


@pytest.fixture
def edited(finished: Path, tmp_path: Path) -> Callable[[str, Callable[[dict], None]], Path]:
    """Return a copy of the run after an edit of one of its JSON files."""

    def edit(name: str, change: Callable[[dict], None]) -> Path:
        copy = tmp_path / "run"
        shutil.copytree(finished, copy)
        content = json.loads((copy / name).read_text())
        change(content)
        (copy / name).write_text(json.dumps(content))
        return copy

    return edit
