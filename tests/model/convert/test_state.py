from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from radialog_instruct.errors import ModelError
from radialog_model.convert.state import read_either, read_file, read_folder


class Payload:
    """Would write a file, were the pickle run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_runs_code_is_refused_and_never_run(tmp_path: Path) -> None:
    torch.save({"weight": Payload(tmp_path / "ran")}, tmp_path / "bad.bin")
    with pytest.raises(ModelError, match="more than tensors.*safetensors.torch.save_file"):
        read_file(tmp_path / "bad.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_both_pickle_forms_are_read(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "w.bin", _use_new_zipfile_serialization=zipped)
    assert read_file(tmp_path / "w.bin")["a"].tolist() == [0, 1, 2]


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"a": torch.ones(1)}}, tmp_path / "w.bin")
    with pytest.raises(ModelError, match="not a plain state dict"):
        read_file(tmp_path / "w.bin")
    (tmp_path / "w.bin").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match=r"w\.bin"):
        read_file(tmp_path / "w.bin")
    (tmp_path / "w.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="not readable as weights"):
        read_file(tmp_path / "w.safetensors")


def test_safetensors_go_before_pickles(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "adapter_model.bin")
    save_file({"a": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    state, path = read_either(tmp_path, "adapter_model")
    assert state["a"].item() == 1
    assert path.suffix == ".safetensors"


def test_a_missing_shard_and_a_missing_tensor_are_named(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    with pytest.raises(ModelError, match=r"two\.safetensors: no such file"):
        read_folder(tmp_path)
    save_file({"c": torch.ones(1)}, tmp_path / "two.safetensors")
    with pytest.raises(ModelError, match="the shards lack b"):
        read_folder(tmp_path)
    with pytest.raises(ModelError, match="no weights here"):
        read_folder(tmp_path.parent)
