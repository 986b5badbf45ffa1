from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from radialog_model.biovil import BioViLTConfig, BioViLTModel
from radialog_model.presets import build_project, preset_named, presets, project_config
from radialog_model.processing import build_processor, train_tokenizer


def tiny_tower(**changes: object) -> BioViLTModel:
    torch.manual_seed(0)
    settings = {"depths": (1, 1, 1, 1), "widths": (8, 16, 24, 32), "stem_width": 8, "projection_dim": 16}
    return BioViLTModel(BioViLTConfig(**settings, hidden_size=32, image_size=64, **changes))


def scramble_batchnorm(tower: BioViLTModel) -> None:
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)


def test_the_published_sizes_give_196_patches_of_512() -> None:
    with torch.device("meta"):
        tower = BioViLTModel(BioViLTConfig())
        output = tower(torch.zeros(1, 3, 448, 448))
    assert output.last_hidden_state.shape == (1, 196, 512)
    parameters = sum(p.numel() for p in tower.parameters())
    assert 23_000_000 < parameters < 25_000_000


@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_the_processor_writes_one_token_a_feature(name: str) -> None:
    preset = preset_named(name)
    tokenizer = train_tokenizer(["The lungs are clear."] * 3, 300)
    processor = build_processor(tokenizer, preset.tower)
    image = torch.zeros(3, 200, 300).byte().numpy()
    inputs = processor(text=["<image> What?"], images=[image], return_tensors="pt")
    token = tokenizer.convert_tokens_to_ids("<image>")
    assert int((inputs["input_ids"] == token).sum()) == preset.tower.num_patches
    features = BioViLTModel(preset.tower).eval()(inputs["pixel_values"]).last_hidden_state
    assert features.shape[1:] == (preset.tower.num_patches, preset.tower.hidden_size)
    assert 0 <= float(inputs["pixel_values"].min()) <= float(inputs["pixel_values"].max()) <= 1


def test_the_second_half_of_a_patch_is_the_missing_previous_image() -> None:
    tower = tiny_tower().eval()
    output = tower(torch.rand(2, 3, 64, 64)).last_hidden_state
    assert output.is_contiguous()
    assert torch.equal(output[..., 16:], tower.missing_previous.weight.expand(2, 4, 16))
    assert not torch.equal(output[0, :, :16], output[1, :, :16])


def test_batchnorm_statistics_survive_saving_and_loading(tmp_path: Path) -> None:
    tower = tiny_tower().eval()
    scramble_batchnorm(tower)
    pixels = torch.rand(2, 3, 64, 64)
    before = tower(pixels).last_hidden_state
    tower.save_pretrained(tmp_path)
    again = BioViLTModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again(pixels).last_hidden_state, before)


def test_frozen_batchnorm_does_not_drift_and_live_batchnorm_does() -> None:
    for frozen in (True, False):
        tower = tiny_tower(freeze_batchnorm=frozen).train()
        before = tower.stem[1].running_mean.clone()
        tower(torch.rand(4, 3, 64, 64))
        assert torch.equal(tower.stem[1].running_mean, before) is frozen


def test_every_preset_is_a_stock_llava() -> None:
    for name, preset in presets().items():
        config = project_config(preset, vocab_size=320, image_token_id=3, pad=0, bos=1, eos=2)
        with torch.device("meta"):
            model = build_project(config)
        assert type(model).__name__ == "LlavaForConditionalGeneration", name
        assert config.image_seq_length == preset.tower.num_patches
