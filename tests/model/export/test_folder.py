from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.errors import UsageError
from radialog_model.export.folder import UNFINISHED, check_output, foreign_files, into_place, model_folder


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_only_model_files_belong_to_a_model_folder(tmp_path: Path) -> None:
    write(tmp_path, "config.json", "model-00001-of-00002.safetensors", "README.md", "optimizer.pt", "train.jsonl")
    (tmp_path / "checkpoint-3").mkdir()
    assert foreign_files(tmp_path) == ["checkpoint-3/", "optimizer.pt", "train.jsonl"]


def test_an_extractor_is_the_one_subfolder_and_holds_model_files_alone(tmp_path: Path) -> None:
    write(tmp_path, "config.json")
    write(tmp_path / "findings", "config.json", "model.safetensors")
    assert foreign_files(tmp_path) == []
    check_output(tmp_path, force=True)
    write(tmp_path / "findings", "labels.csv")
    write(tmp_path / "findings" / "findings", "config.json")
    assert foreign_files(tmp_path) == ["findings/findings/", "findings/labels.csv"]
    with pytest.raises(UsageError, match=r"findings/findings/, 2 in all"):
        check_output(tmp_path, force=True)


def test_a_new_model_takes_the_place_of_the_old_one_and_of_nothing_else(tmp_path: Path) -> None:
    out = write(
        tmp_path / "out", "config.json", "radialog.json", "adapter_config.json", "model-00001-of-00002.safetensors"
    )
    write(out / "findings", "config.json")
    write(out / "work", "trainer_state.json")
    write(out / UNFINISHED, "model.safetensors")  # of a run that was killed
    write(out, "notes.txt")
    with into_place(out) as folder:
        assert list(folder.iterdir()) == []
        write(folder, "config.json", "model.safetensors")
        assert (out / "adapter_config.json").exists()
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors", "notes.txt", "work"]
    assert (out / "work" / "trainer_state.json").exists()
    with into_place(out) as folder:
        write(folder / "findings", "config.json")
        write(folder, "config.json")
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "findings", "notes.txt", "work"]


def test_a_model_that_was_not_written_to_its_end_leaves_the_old_one(tmp_path: Path) -> None:
    out = write(tmp_path / "out", "config.json", "findings_head.json")
    with pytest.raises(KeyboardInterrupt), into_place(out) as folder:
        write(folder, "config.json", "model.safetensors")
        raise KeyboardInterrupt
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "findings_head.json"]
    with pytest.raises(UsageError, match="cannot write"), into_place(out / "config.json"):
        pass


@pytest.mark.parametrize("moved", range(4))
def test_killed_while_its_files_move_a_folder_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    out = write(tmp_path / "out", "config.json", "findings_head.json")
    replace, done = Path.replace, []

    def stops(self: Path, target: Path) -> Path:
        if len(done) == moved:
            raise KeyboardInterrupt
        done.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stops)
    with pytest.raises(KeyboardInterrupt), into_place(out) as folder:
        write(folder, "config.json", "model.safetensors", "radialog.json", "tokenizer.json")
    assert not (out / "config.json").exists()
    assert not (out / "findings_head.json").exists()
    assert done[2:] == ["radialog.json"][: moved - 2 if moved > 2 else 0]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(KeyboardInterrupt), model_folder(out, force=False) as folder:
        write(folder, "config.json")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with model_folder(out, force=False) as folder:
        write(folder, "config.json")
        assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_older_model_is_replaced_only_by_a_whole_one_and_when_asked(tmp_path: Path) -> None:
    out = write(tmp_path / "model", "config.json", "README.md")
    with pytest.raises(UsageError, match="not empty.*--force"):
        check_output(out, force=False)
    with pytest.raises(RuntimeError), model_folder(out, force=True) as folder:
        write(folder, "config.json")
        raise RuntimeError
    assert (out / "README.md").exists()
    with model_folder(out, force=True) as folder:
        write(folder, "config.json")
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_force_never_deletes_what_is_no_model(tmp_path: Path) -> None:
    out = write(tmp_path / "home", "config.json", "thesis.doc")
    with pytest.raises(UsageError, match=r"thesis\.doc"):
        check_output(out, force=True)
    with pytest.raises(UsageError, match="a file stands here"):
        check_output(out / "thesis.doc", force=True)
    with pytest.raises(UsageError, match="cannot write"):
        check_output(out / "thesis.doc" / "model", force=True)
