from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from radialog_model.biovil import BioViLTConfig, BioViLTModel
from radialog_model.presets import build_project, preset_named, presets, project_config, scratch_llm
from radialog_model.processing import build_processor, image_features, train_tokenizer


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


@pytest.mark.parametrize("name", list(presets()))
def test_the_processor_writes_one_token_for_every_feature_of_every_preset(name: str) -> None:
    preset = preset_named(name)
    tokenizer = train_tokenizer(["The lungs are clear."] * 3, 300)
    processor = build_processor(tokenizer, preset.tower, image_size=preset.image_size, mean=preset.mean, std=preset.std)
    image = torch.zeros(3, 200, 300).byte().numpy()
    inputs = processor(text=["<image> What?"], images=[image], return_tensors="pt")
    token = tokenizer.convert_tokens_to_ids("<image>")
    written = int((inputs["input_ids"] == token).sum())
    llm = scratch_llm(preset, vocab_size=len(tokenizer), pad=0, bos=1, eos=2)
    config = project_config(llm, preset.tower, image_size=preset.image_size, image_token_id=token)
    with torch.device("meta"):
        model = build_project(config)
        pixels = torch.zeros(inputs["pixel_values"].shape)
        (features,) = model.get_image_features(
            pixels, config.vision_feature_layer, config.vision_feature_select_strategy
        ).pooler_output
    assert type(model).__name__ == "LlavaForConditionalGeneration"
    assert written == len(features) == config.image_seq_length == image_features(config, preset.image_size)
    if preset.mean is None:
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
