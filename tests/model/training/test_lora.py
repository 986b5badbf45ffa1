from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from radialog_instruct.errors import ModelError
from radialog_model.assemble import load_llm
from radialog_model.checkpoint import load_checkpoint, save_checkpoint
from radialog_model.config import Lora
from radialog_model.lora import add_lora
from radialog_model.training.job import Job
from tests.model.test_biovil import scramble_batchnorm


@pytest.fixture
def adapter(job: Job, base_llm: Path, tmp_path: Path):
    model = add_lora(job.model, Lora(r=4), train=("llm", "projector"), base_model=str(base_llm), quantized=False)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    scramble_batchnorm(model.base_model.model.model.vision_tower.modules_to_save["default"])
    folder = tmp_path / "adapter"
    save_checkpoint(folder, model.eval(), job.processor, None, ("note",), {"rows": {}})
    return model, folder


def logits(model, job: Job) -> torch.Tensor:
    image = torch.full((3, 80, 90), 99).byte().numpy()
    inputs = job.processor(text=["<image> What is seen?"], images=[image], return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits


def test_one_adapter_file_holds_projector_tower_and_its_batchnorm(job: Job, adapter) -> None:
    model, folder = adapter
    merged = load_checkpoint(folder)
    torch.testing.assert_close(logits(merged.model, job), logits(model, job), rtol=1e-4, atol=1e-5)
    assert merged.notices == ("note",)
    assert not list(folder.glob("model*.safetensors"))
    again = folder.with_name("again")
    save_checkpoint(again, model, job.processor, None, ("note",), {"rows": {}})
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_new_token_is_the_mean_of_the_others_and_so_never_the_most_probable(base_llm: Path) -> None:
    old = load_llm(str(base_llm), dtype=torch.float32, quantization="none", vocabulary=1).lm_head.weight
    wide = load_llm(str(base_llm), dtype=torch.float32, quantization="none", vocabulary=len(old) + 2).lm_head.weight
    assert torch.equal(wide[: len(old)], old)
    torch.testing.assert_close(wide[-1], old.mean(0))
    hidden = torch.randn(50, old.shape[1])
    assert int((hidden @ wide.T).argmax(1).max()) < len(old)


@pytest.mark.parametrize("tensor", ["vision_tower.stem.1.running_mean", "multi_modal_projector.linear_1.weight"])
def test_a_missing_tensor_is_named(adapter, tensor: str) -> None:
    from safetensors.torch import load_file, save_file

    _, folder = adapter
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    name = next(n for n in state if n.endswith(tensor))
    del state[name]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=tensor):
        load_checkpoint(folder)


def test_a_base_model_that_is_not_there_or_does_not_fit_is_named(adapter, base_llm: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    _, folder = adapter
    with pytest.raises(ModelError, match="base model cannot be loaded"):
        load_checkpoint(folder, base_model=str(tmp_path / "nowhere"))
    other = tmp_path / "other"
    shutil.copytree(base_llm, other)
    config = LlamaConfig.from_pretrained(base_llm)
    config.num_hidden_layers = 1
    LlamaForCausalLM(config).save_pretrained(other)
    with pytest.raises(ModelError, match="num_hidden_layers 2, the base model has 1"):
        load_checkpoint(folder, base_model=str(other))


def test_targets_that_no_layer_has_are_named(job: Job, base_llm: Path) -> None:
    with pytest.raises(ModelError, match="no layer named query"):
        add_lora(job.model, Lora(target=("query",)), train=(), base_model=str(base_llm), quantized=False)
