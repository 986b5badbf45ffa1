"""The vision backbone of an extractor, pretrained or random, with the image processor that feeds it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from radialog_instruct.errors import ModelError, UsageError
from radialog_model import register
from radialog_model.biovil import BioViLTConfig
from radialog_model.findings.config import FindingsTrainConfig
from radialog_model.findings.model import FindingsConfig, FindingsModel
from radialog_model.processing import RESIZE_MARGIN

RANDOM: dict[str, type[PreTrainedConfig]] = {"biovil_t": BioViLTConfig, "clip": CLIPVisionConfig}
"""Backbones that can start from random weights, by the name in a configuration."""


def build_extractor(config: FindingsTrainConfig) -> tuple[FindingsModel, Any]:
    """Return the untrained model, with pretrained weights where the configuration names some, and its image processor.

    Raises:
        UsageError: If the sizes are none of the backbone's, or the head does not fit it.
        ModelError: If the backbone cannot be loaded, or the file lacks some of its weights.
    """
    register()
    backbone: PreTrainedModel | None = None
    try:
        if config.backbone in RANDOM:
            shape = RANDOM[config.backbone](**config.sizes)
        else:
            backbone = _pretrained(config.backbone)
            shape = backbone.config
        if isinstance(shape, BioViLTConfig):
            shape.freeze_batchnorm = config.batchnorm == "frozen"
        model = FindingsModel(FindingsConfig(backbone_config=shape, head=config.head), backbone)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"cannot build the extractor: {error}", where=f"backbone {config.backbone}") from error
    if config.freeze:
        model.freeze_backbone = True
        model.backbone.requires_grad_(False)
    return model, _image_processor(config, shape)


def _pretrained(name: str) -> PreTrainedModel:
    try:
        whole: Any = AutoConfig.from_pretrained(name)
        # CLIP and its like hold a text tower too; only the vision tower is wanted.
        shape = getattr(whole, "vision_config", whole)
        loaded: Any = AutoModel.from_pretrained(name, config=shape, dtype=torch.float32, output_loading_info=True)
        backbone, report = loaded
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        mend = "give the folder or Hub repository of a vision model"
        raise ModelError(f"the backbone cannot be loaded ({first})", where=name, mend=mend) from error
    if report["missing_keys"]:
        lost = sorted(report["missing_keys"])
        raise ModelError(f"the file lacks {len(lost)} of the backbone's weights, {lost[0]} first", where=name)
    assert isinstance(backbone, PreTrainedModel)
    return backbone


def _image_processor(config: FindingsTrainConfig, shape: Any) -> Any:
    if isinstance(shape, BioViLTConfig):
        # no mean or standard deviation, as BioViL-T was trained; its side may be any multiple of the stride
        crop = config.crop or shape.image_size
        return _sized(config.resize or round(crop * RESIZE_MARGIN), crop, do_normalize=False)
    if config.backbone in RANDOM:
        crop = config.crop or shape.image_size
        return _sized(config.resize or crop, crop)
    try:
        processor: Any = AutoImageProcessor.from_pretrained(config.backbone)
    except (OSError, ValueError) as error:
        mend = "put its preprocessor_config.json beside its weights"
        raise ModelError("the backbone has no image processor", where=config.backbone, mend=mend) from error
    if config.crop is not None:
        processor.crop_size = {"height": config.crop, "width": config.crop}
    if config.resize is not None:
        processor.size = {"shortest_edge": config.resize}
    return processor


def _sized(resize: int, crop: int, **options: Any) -> Any:
    size, square = {"shortest_edge": resize}, {"height": crop, "width": crop}
    return CLIPImageProcessorPil(size=size, crop_size=square, do_convert_rgb=True, **options)
