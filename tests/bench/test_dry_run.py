from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import bench, read

CALLED = """
from radialog_bench import Response
class Called:
    def generate(self, requests):
        raise SystemExit("a dry run asked the model")
"""


def plan(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert bench("run", *arguments, "--dry-run", "--json") == code
    found = json.loads(capsys.readouterr().out)
    return {part["name"]: part for part in found["parts"]} | {"plan": found}


def test_what_would_be_asked_is_what_is_asked_at_least(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    planned = plan(capsys, "-m", "constant", "-e", "report_generation,correction,findings_qa,impression")
    assert not list(tmp_path.iterdir())
    numbers = {name: part["asks_at_least"] for name, part in planned.items() if name != "plan"}
    assert numbers == {"report_generation": 24, "correction": 0, "findings_qa": 24 * 14, "impression": 24}
    assert planned["impression"]["images_present"] == planned["impression"]["images"] == 24
    assert bench("run", "-m", "constant", "-e", ",".join(numbers), "--bootstrap", "0", "-o", tmp_path / "r") == 0
    asked = {name: speed["asked"] for name, speed in read(tmp_path / "r" / "run.json")["speed"].items()}
    assert all(asked[name] >= number for name, number in numbers.items() if number)
    assert asked["findings_qa"] == numbers["findings_qa"]


def test_the_model_is_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.py").write_text(CALLED)
    assert bench("run", "-m", f"{tmp_path / 'm.py'}:Called", "-o", tmp_path / "r", "--dry-run") == 0
    out, error = capsys.readouterr()
    assert "asks at least" in out
    assert "dry run: nothing was asked or written" in error
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("-m", "constnt"), 2),
        (("-m", "constant", "--split", "dev"), 2),
        (("-m", "constant", "--data", "iu-xray", "--root", "{tmp}/none"), 3),
        (("-m", "constant", "--shard", "9/3"), 2),
        (("-m", "constant", "--sample-ids", "nobody"), 2),
        (("-m", "constant", "--labeler", "gpt"), 2),
    ],
)
def test_it_ends_as_the_run_would(arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert bench("run", *given, "-o", tmp_path / "r", "--dry-run") == code
    assert bench("run", *given, "-o", tmp_path / "r") == code
    assert not (tmp_path / "r" / "run.json").exists()


def test_a_folder_of_another_run_is_refused_and_the_own_one_is_resumed(
    demo_runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (demo_runs / "constant" / "run.json").read_bytes()
    assert bench("run", "-m", "echo", "-o", demo_runs / "constant", "--bootstrap", "20", "--dry-run") == 2
    assert "belongs to a run with another model." in capsys.readouterr().err
    assert plan(capsys, "-m", "constant", "-o", demo_runs / "constant", "--bootstrap", "20")["plan"]["resumes"]
    assert (demo_runs / "constant" / "run.json").read_bytes() == before


def test_without_the_labeler_the_exit_code_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from radialog_bench import dry_run
    from radialog_bench.labelers import Labeler

    absent = Labeler("chexbert", "chexbert", None, "no checkpoint here")
    monkeypatch.setattr(dry_run, "open_labeler", lambda *_: absent)
    planned = plan(capsys, "-m", "constant", "-e", "correction,impression", code=1)
    assert planned["plan"]["labeler_missing"] == "no checkpoint here"
    assert (planned["correction"]["asks_at_least"], planned["impression"]["asks_at_least"]) == (0, 24)
