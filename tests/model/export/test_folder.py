from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.errors import UsageError
from radialog_model.export.folder import check_output, foreign_files, model_folder


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_only_model_files_belong_to_a_model_folder(tmp_path: Path) -> None:
    write(tmp_path, "config.json", "model-00001-of-00002.safetensors", "README.md", "optimizer.pt", "train.jsonl")
    (tmp_path / "checkpoint-3").mkdir()
    assert foreign_files(tmp_path) == ["checkpoint-3/", "optimizer.pt", "train.jsonl"]


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
