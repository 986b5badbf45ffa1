"""A model folder: which files belong to it, and how it comes to be whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from radialog_instruct.errors import UsageError
from radialog_instruct.files import unwritable

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "findings_head.safetensors",
    "findings_head.json",
    "modeling_biovil_t.py",
    "modeling_radialog.py",
    "radialog.json",
    "README.md",
)
"""All that a model folder may hold, as name patterns, beside ``EXTRACTOR``; no optimizer state, no training data."""
EXTRACTOR = "findings"
"""The one subfolder that a model folder may hold: a stand-alone findings extractor, of ``MODEL_FILES`` itself."""
UNFINISHED = ".unfinished"
"""Subfolder in which a model is written before its files take their places."""
_LAST = ("radialog.json", "config.json")
"""Take their places after all others: without ``config.json`` nothing loads a folder."""


def foreign_files(folder: Path) -> list[str]:
    """Return the names in a folder that do not belong to a model, sorted."""
    names = _foreign(folder)
    extractor = f"{EXTRACTOR}/"
    if extractor not in names:
        return names
    names.remove(extractor)
    return sorted([*names, *(f"{extractor}{name}" for name in _foreign(folder / EXTRACTOR))])


def copy_extractor(source: Path, target: Path) -> None:
    """Copy the findings extractor of a model folder into another one, where it has one."""
    folder = source / EXTRACTOR
    if not folder.is_dir():
        return
    (target / EXTRACTOR).mkdir()
    for path in folder.iterdir():
        if path.is_file() and _belongs(path.name):
            shutil.copyfile(path, target / EXTRACTOR / path.name)


def check_output(output: Path, *, force: bool) -> None:
    """Check, before any work is done, that a model folder can be written.

    Args:
        output: The folder.
        force: Whether an older model folder may be replaced.

    Raises:
        UsageError: If it is a file, holds something, or cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise UsageError("a file stands here", where=str(output), mend="choose another --output")
    try:
        held = output.is_dir() and any(output.iterdir())
        if held and not force:
            raise UsageError(
                "the folder is not empty", where=str(output), mend="choose another --output, or add --force"
            )
        if held and (foreign := foreign_files(output)):
            what = f"the folder holds what is no model file ({foreign[0]}, {len(foreign)} in all) and is not replaced"
            raise UsageError(what, where=str(output), mend="choose another --output")
        output.parent.mkdir(parents=True, exist_ok=True)
        probe = _beside(output, "tmp")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise unwritable(output, error) from error


@contextmanager
def model_folder(output: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of ``output`` when the block ends without an error.

    Args:
        output: The folder.
        force: Whether an older model folder may be replaced.

    Raises:
        UsageError: If the folder cannot be written, or what was written is not a model folder.
    """
    check_output(output, force=force)
    temporary, old = _beside(output, "tmp"), _beside(output, "old")
    try:
        temporary.mkdir()
        yield temporary
        foreign = foreign_files(temporary)
        assert not foreign, foreign
        if output.exists():
            output.rename(old)
        temporary.rename(output)
    except OSError as error:
        raise unwritable(output, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            old.rename(output)


@contextmanager
def into_place(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files take their places in ``folder`` when the block ends without an error.

    An older model there makes way; what is no model file stays, for training keeps what it resumes from beside the
    model. Ended at any point, by a kill too, the folder holds the old model, or the new one, or none that loads.

    Args:
        folder: Where to; created if needed.

    Raises:
        UsageError: If it cannot be written.
    """
    temporary = folder / UNFINISHED
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        (folder / "config.json").unlink(missing_ok=True)
        for path in [*folder.iterdir()]:
            _remove_old(path)
        for path in sorted(temporary.iterdir(), key=_place):
            path.replace(folder / path.name)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _place(path: Path) -> int:
    return _LAST.index(path.name) + 1 if path.name in _LAST else 0


def _remove_old(path: Path) -> None:
    if path.name == EXTRACTOR and path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.name == EXTRACTOR or _belongs(path.name):
        path.unlink()


def _belongs(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in MODEL_FILES)


def _foreign(folder: Path) -> list[str]:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return [name for name in names if not _belongs(name)]


def _beside(output: Path, suffix: str) -> Path:
    whole = output.absolute()
    return whole.with_name(f".{whole.name}.{os.getpid()}.{suffix}")
