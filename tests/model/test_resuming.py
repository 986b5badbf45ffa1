from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.errors import UsageError
from radialog_model.resuming import CLAIM, claim, last_complete


def checkpoint(folder: Path, number: int, state: str | None) -> Path:
    made = folder / f"checkpoint-{number}"
    made.mkdir()
    (made / "model.safetensors").write_text("weights")
    if state is not None:
        (made / "trainer_state.json").write_text(state)
    return made


def test_the_newest_checkpoint_that_is_whole_is_taken_and_the_others_stay(tmp_path: Path) -> None:
    assert last_complete(tmp_path / "none") is None
    assert last_complete(tmp_path) is None
    cut = checkpoint(tmp_path, 100, None)
    assert last_complete(tmp_path) is None
    whole = [checkpoint(tmp_path, number, "{}") for number in (9, 20)]
    half = checkpoint(tmp_path, 30, '{"global_step": 3')
    (tmp_path / "checkpoint-400").touch()
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete(tmp_path) == str(whole[1])
    assert all(path.is_dir() for path in (cut, half, *whole))


def test_a_work_folder_belongs_to_the_run_that_claimed_it(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    run = {"config": {"seed": 0, "sizes": {"width": 8}, "notices": ("a",)}, "dataset": "abc"}
    claim(folder, run)
    claim(folder, run)
    assert [path.name for path in folder.iterdir()] == [CLAIM]
    with pytest.raises(UsageError, match=r"another config\.sizes\.width lies here: 8 then, 16 now"):
        claim(folder, {**run, "config": {**run["config"], "sizes": {"width": 16}}})
    with pytest.raises(UsageError, match=r"another dataset lies here: 'abc' then, 'def' now.*work"):
        claim(folder, {**run, "dataset": "def"})
    with pytest.raises(UsageError, match=r"another config\.seed lies here: 0 then, nothing now"):
        claim(folder, {**run, "config": {"sizes": {"width": 8}, "notices": ["a"]}})
    claim(folder, run)


def test_a_folder_that_cannot_be_claimed_is_named(tmp_path: Path) -> None:
    (tmp_path / CLAIM).write_text("{")
    with pytest.raises(UsageError, match=r"run\.json: not JSON"):
        claim(tmp_path, {})
    with pytest.raises(UsageError, match="cannot write"):
        claim(tmp_path / CLAIM / "work", {})
