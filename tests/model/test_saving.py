"""What three kinds of model leave where their saving is cut short, or where an older model lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from radialog_model.align.folder import load_stage1, save_stage1
from radialog_model.align.text import report_tokenizer
from radialog_model.checkpoint import load_checkpoint, save_checkpoint
from radialog_model.findings import FindingsExtractor
from tests.model.align.tiny import TEXTS, tiny_stage1
from tests.model.findings.conftest import scrambled

OLD = ("adapter_config.json", "model-00001-of-00002.safetensors", "findings_head.json")


def save_whole(folder: Path) -> None:
    shipped = load_checkpoint()
    save_checkpoint(folder, shipped.model, shipped.processor, None, ("a notice",), {})


def save_first_stage(folder: Path) -> None:
    tokenizer: PreTrainedTokenizerFast = report_tokenizer(list(TEXTS), 320)  # type: ignore[assignment]
    save_stage1(folder, tiny_stage1(), tokenizer, {"notices": ["a notice"]})


def save_extractor(folder: Path) -> None:
    scrambled().save_pretrained(folder)


SAVED: list[tuple[Callable[[Path], None], Callable[[Path], object]]] = [
    (save_whole, load_checkpoint),
    (save_first_stage, load_stage1),
    (save_extractor, FindingsExtractor.load),
]


@pytest.mark.parametrize(("save", "load"), SAVED)
def test_an_older_model_makes_way_and_what_training_resumes_from_stays(
    save: Callable[[Path], None], load: Callable[[Path], object], tmp_path: Path
) -> None:
    for name in OLD:
        (tmp_path / name).touch()
    (tmp_path / "findings").mkdir()
    (tmp_path / "findings" / "config.json").touch()
    (tmp_path / "work").mkdir()
    save(tmp_path)
    load(tmp_path)
    assert not any((tmp_path / name).exists() for name in OLD)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["work"]


@pytest.mark.parametrize(("save", "load"), SAVED)
def test_without_its_description_nothing_loads(
    save: Callable[[Path], None], load: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def killed(self: Path, *args: object, **options: object) -> int:
        if self.name == "radialog.json":
            raise KeyboardInterrupt
        return write(self, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "write_text", killed)
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    save(tmp_path)
    load(tmp_path)
