"""Tensors out of published files: safetensors, or pickles that hold tensors and nothing else."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from radialog_instruct.errors import ModelError

State = dict[str, Tensor]

SAVE_AGAIN = (
    "where you trust the file, load it with the program that wrote it and save its tensors alone with "
    "safetensors.torch.save_file"
)
_WHOLE = ("model.safetensors", "pytorch_model.bin")


def read_file(path: Path) -> State:
    """Read the tensors of one file.

    Pickles are read without running what they contain.

    Args:
        path: A ``.safetensors`` file or a pickle.

    Raises:
        ModelError: If it is not there, cannot be read, or holds anything but tensors.
    """
    if not path.is_file():
        raise ModelError("no such file", where=str(path), mend="check the path")
    values: Any
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise ModelError("the pickle holds more than tensors", where=str(path), mend=SAVE_AGAIN) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as error:
        first = str(error).strip().splitlines()[:1]
        reason = first[0] if first else type(error).__name__
        raise ModelError(f"not readable as weights ({reason})", where=str(path), mend="download it again") from error
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ModelError("not a plain state dict: name -> tensor", where=str(path), mend=SAVE_AGAIN)
    return {str(name): value.detach() for name, value in values.items()}


def read_folder(folder: Path) -> State:
    """Read the weights of a transformers folder, whole or in shards; safetensors before pickles.

    Raises:
        ModelError: If there are none, a shard is missing, or one cannot be read.
    """
    for name in _WHOLE:
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_shards(index)
        if (folder / name).is_file():
            return read_file(folder / name)
    raise ModelError("no weights here", where=str(folder), mend=f"the folder must hold {' or '.join(_WHOLE)}")


def read_either(folder: Path, stem: str) -> tuple[State, Path]:
    """Read ``stem.safetensors`` or ``stem.bin`` and return the path as well.

    Raises:
        ModelError: If neither is there, or it cannot be read.
    """
    for suffix in (".safetensors", ".bin"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return read_file(path), path
    raise ModelError(f"neither {stem}.safetensors nor {stem}.bin", where=str(folder), mend="download the whole folder")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: If the file is not there or holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError("no such file", where=str(path), mend="download the whole folder") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"not readable as JSON ({error})", where=str(path), mend="download it again") from error
    if not isinstance(value, dict):
        raise ModelError("not a JSON object", where=str(path), mend="download it again")
    return value


def _read_shards(index: Path) -> State:
    placed = read_json(index).get("weight_map", {})
    state: State = {}
    for name in sorted(set(placed.values())):
        state |= read_file(index.parent / name)
    lost = placed.keys() - state.keys()
    if lost:
        raise ModelError(
            f"the shards lack {min(lost)} ({len(lost)} in all)", where=str(index), mend="download it again"
        )
    return state


def _is_zip(path: Path) -> bool:
    # torch.save's format since 1.6; only that one can be mapped into memory
    with path.open("rb") as handle:
        return handle.read(2) == b"PK"
