"""The stand-alone findings extractor: a vision backbone and a head of 14 logits.

The paper's body describes a CLIP vision encoder with a linear head; the published code and the appendix use BioViL-T,
whose patch embeddings are projected to the 128 channels of its joint space, pooled to 4 x 4, flattened, and read by two
layers (512, ReLU, 14). Both are configurations here.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutput

from radialog_instruct.findings import FINDINGS
from radialog_model import register
from radialog_model.biovil import BioViLTModel, init_batchnorm
from radialog_model.findings.thresholds import HALF

Head = Literal["linear", "released"]


class FindingsConfig(PreTrainedConfig):
    """Shape of an extractor.

    Attributes:
        backbone_config: Configuration of the vision backbone.
        head: ``linear`` on pooled features, or ``released``: the published code's head on BioViL-T's projected patches.
        classes: Class names in the order of the outputs.
        thresholds: Probability from which a class counts as present, by class name.
        projection_dim: Channels of BioViL-T's joint space; used by the released head.
        pool_grid: Side of the grid that patches are pooled to; used by the released head.
        head_dim: Inner width of the released head.
    """

    model_type = "radialog_findings"
    sub_configs = {"backbone_config": AutoConfig}  # type: ignore[dict-item]  # noqa: RUF012

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    head: str = "linear"
    classes: tuple[str, ...] | list[str] = FINDINGS
    thresholds: dict[str, float] | None = None
    projection_dim: int = 128
    pool_grid: int = 4
    head_dim: int = 512
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the backbone's configuration; without one it is BioViL-T's.

        Raises:
            ValueError: If the released head is to read another backbone.
        """
        register()
        if not isinstance(self.backbone_config, PreTrainedConfig):
            settings = dict(self.backbone_config or {"model_type": "biovil_t"})
            self.backbone_config = CONFIG_MAPPING[settings.pop("model_type")](**settings)
        if self.head == "released" and self.backbone_config.model_type != "biovil_t":
            raise ValueError(f"the released head reads a biovil_t backbone, not {self.backbone_config.model_type}")
        if self.thresholds is None:
            self.thresholds = dict.fromkeys(self.classes, HALF)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class _ReleasedHead(nn.Module):
    def __init__(self, config: FindingsConfig, channels: int) -> None:
        super().__init__()
        joint, grid = config.projection_dim, config.pool_grid
        self.grid = grid
        self.projector = nn.Sequential(
            nn.Conv2d(channels, joint, 1, bias=False), nn.BatchNorm2d(joint), nn.ReLU(), nn.Conv2d(joint, joint, 1)
        )
        self.fc1 = nn.Linear(joint * grid * grid, config.head_dim)
        self.fc2 = nn.Linear(config.head_dim, len(config.classes))

    def forward(self, patches: Tensor) -> Tensor:
        """Return [batch, classes] from [batch, channels, h, w]."""
        pooled = adaptive_avg_pool2d(self.projector(patches), self.grid)  # [batch, joint, grid, grid]
        return cast(Tensor, self.fc2(torch.relu(self.fc1(pooled.flatten(1)))))


class FindingsModel(PreTrainedModel):
    """Backbone and head."""

    config_class = FindingsConfig
    config: FindingsConfig
    main_input_name = "pixel_values"
    base_model_prefix = "backbone"
    _supports_sdpa = True

    def __init__(self, config: FindingsConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.backbone: Any = backbone if backbone is not None else AutoModel.from_config(config.backbone_config)
        inner: Any = config.backbone_config
        self.freeze_backbone = False
        if config.head == "released":
            self.head: nn.Module = _ReleasedHead(config, inner.hidden_size)
        else:
            is_biovil = isinstance(self.backbone, BioViLTModel)
            self.head = nn.Linear(inner.projection_dim if is_biovil else inner.hidden_size, len(config.classes))
        self.post_init()  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> FindingsModel:
        """Switch the mode; a frozen backbone stays in evaluation mode, its running statistics as they are."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def features(self, pixel_values: Tensor) -> Tensor:
        """Return what the head reads.

        Args:
            pixel_values: [batch, 3, height, width], as the extractor's image processor gives them.

        Returns:
            [batch, dim] pooled features, or [batch, channels, h, w] patches for the released head.
        """
        if isinstance(self.backbone, BioViLTModel):
            if self.config.head == "linear":
                return self.backbone.patch_features(pixel_values).mean((2, 3))
            patches = self.backbone(pixel_values).last_hidden_state  # [batch, side * side, channels]
            side = round(patches.shape[1] ** 0.5)
            return cast(Tensor, patches.transpose(1, 2).unflatten(2, (side, side)))
        output = self.backbone(pixel_values=pixel_values.to(self.dtype))
        pooled = getattr(output, "pooler_output", None)
        # a backbone without a pooler of its own has its class token first
        return cast(Tensor, pooled.flatten(1) if pooled is not None else output.last_hidden_state[:, 0])

    def forward(self, pixel_values: Tensor | None = None, features: Tensor | None = None) -> ImageClassifierOutput:
        """Return logits.

        Args:
            pixel_values: [batch, 3, height, width].
            features: What ``features`` returned, in place of pixels: a frozen backbone need not run twice.

        Returns:
            Output with ``logits`` [batch, classes].

        Raises:
            ValueError: If neither is given.
        """
        if features is None:
            if pixel_values is None:
                raise ValueError("give pixel_values or features")
            features = self.features(pixel_values)
        return ImageClassifierOutput(logits=cast(torch.FloatTensor, self.head(features)))

    def _init_weights(self, module: nn.Module) -> None:
        # transformers' own init functions leave alone what a checkpoint has filled
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            init_batchnorm(module)
