from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from radialog_bench.cli import app
from radialog_bench.leaderboard import ENTRY, LeaderboardEntry
from radialog_instruct.terminal import run_app

Make = Callable[..., LeaderboardEntry]


@pytest.fixture
def stored(entry: Make, tmp_path: Path) -> Path:
    path = tmp_path / ENTRY
    path.write_text(entry(name="my [/b] <model>").model_dump_json())
    return path


def leaderboard(*arguments: object) -> int:
    return run_app(app, "radialog-bench", ("leaderboard", *map(str, arguments)))


def test_without_runs_it_shows_the_papers_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert leaderboard() == 0
    shown = capsys.readouterr().out
    assert "Table 1: Report generation" in shown
    assert "XrayGPT" in shown
    assert "yours" not in shown


def test_an_entry_made_elsewhere_stands_beside_them(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaderboard(stored) == 0
    shown = capsys.readouterr().out
    assert "my [/b] <model> (yours)" in shown
    assert "my [/b] <model>: views read as whole words" not in shown
    assert "my [/b] <model>: 500 samples of 400 studies" in shown
    assert leaderboard(stored, "--json") == 0
    board = json.loads(capsys.readouterr().out)
    rows = [row for row in board["tables"][0]["rows"] if row["yours"]]
    assert [row["method"] for row in rows] == ["my [/b] <model>"]
    assert leaderboard(stored, "--markdown") == 0
    assert "| my [/b] <model> (yours) |" in capsys.readouterr().out


def test_the_page_escapes_and_holds_everything(stored: Path, tmp_path: Path) -> None:
    assert leaderboard(stored, "--html", tmp_path / "board.html") == 0
    page = (tmp_path / "board.html").read_text()
    assert "my [/b] &lt;model&gt;" in page
    assert "<model>" not in page
    assert "41.2" in page
    assert page.count("<table") == 12
    assert 'href="http' not in page


def test_entries_are_written_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    command = ("run", "-m", "constant", "-e", "view_classification", "-o", str(run), "--bootstrap", "0")
    assert run_app(app, "radialog-bench", command) == 0
    (run / ENTRY).unlink()
    assert leaderboard(run, "--write-entries", "--json") == 0
    assert LeaderboardEntry.model_validate_json((run / ENTRY).read_text()).model.name == "constant"
    assert ENTRY in capsys.readouterr().err


def test_wrong_use_has_its_exit_code(stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaderboard(stored, "--json", "--markdown") == 2
    assert "exclude each other" in capsys.readouterr().err
    assert leaderboard(tmp_path / "nothing") == 3
    assert "no entry here" in capsys.readouterr().err
    assert leaderboard(tmp_path) == 3
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert leaderboard(stored, "--html", blocked / "x.html") == 2
