"""The BioViL-T image encoder for a single image, as a tower that a stock LLaVA accepts.

BioViL-T (Bannur et al., CVPR 2023) is a ResNet-50 whose last feature map goes through a 1x1 convolution to 256
channels. Without a previous image the other 256 channels are one learned constant, so an image of 448 px gives 14 x 14
patches of 512 values. Pixels are in 0..1, without mean or standard deviation.

The convolutions are plain modules: a nested transformers ResNet would refuse ``attn_implementation="sdpa"``.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput

EXPANSION = 4
"""Output width of a bottleneck block over its inner width."""


class BioViLTConfig(PreTrainedConfig):
    """Shape of the tower; the defaults are the published ResNet-50 at 448 px.

    Attributes:
        depths: Bottleneck blocks in each of the four stages.
        widths: Output channels of the four stages, each a multiple of ``EXPANSION``.
        stem_width: Channels after the first convolution.
        projection_dim: Channels after the 1x1 convolution; ``hidden_size`` is twice that.
        image_size: Side of the square input in pixels, a multiple of 32.
        freeze_batchnorm: Keep BatchNorm in evaluation mode while training, its affine parameters fixed.
    """

    model_type = "biovil_t"

    depths: tuple[int, ...] | list[int] = (3, 4, 6, 3)
    widths: tuple[int, ...] | list[int] = (256, 512, 1024, 2048)
    stem_width: int = 64
    projection_dim: int = 256
    image_size: int = 448
    freeze_batchnorm: bool = True
    initializer_range: float = 0.02
    hidden_size: int = 512

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels: the network's total stride."""
        return 32

    @property
    def num_patches(self) -> int:
        """Patches, and so language-model tokens, an image."""
        return (self.image_size // self.patch_size) ** 2


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        inner = width // EXPANSION
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class BioViLTModel(PreTrainedModel):
    """The tower.

    Its last hidden state is [batch, patches, hidden_size]: the first half of a patch's values are image features, the
    second half is the constant that stands for the missing previous image.
    """

    config_class = BioViLTConfig
    config: BioViLTConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = {"_Bottleneck"}  # noqa: RUF012

    def __init__(self, config: BioViLTConfig) -> None:
        super().__init__(config)
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem_width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(config.stem_width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        blocks: list[nn.Module] = []
        channels = config.stem_width
        for stage, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            for number in range(depth):
                blocks.append(_Bottleneck(channels, width, 2 if number == 0 and stage > 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.projection = nn.Conv2d(channels, config.projection_dim, 1, bias=False)
        self.missing_previous = nn.Embedding(1, config.projection_dim)
        self.post_init()  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> BioViLTModel:
        """Switch the mode; frozen BatchNorm stays in evaluation mode, so its running statistics cannot drift."""
        super().train(mode)
        if self.config.freeze_batchnorm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
                    module.requires_grad_(False)
        return self

    def patch_features(self, pixel_values: Tensor) -> Tensor:
        """Return the image features alone.

        Args:
            pixel_values: [batch, 3, image_size, image_size] in 0..1.

        Returns:
            [batch, projection_dim, image_size / 32, image_size / 32].
        """
        features: Tensor = self.projection(self.blocks(self.stem(pixel_values.to(self.dtype))))
        return features

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:  # noqa: ARG002
        """Encode images.

        Args:
            pixel_values: [batch, 3, image_size, image_size] in 0..1.
            **kwargs: Ignored; LLaVA passes flags of its own.

        Returns:
            Output whose ``last_hidden_state`` and only hidden state are [batch, patches, hidden_size].
        """
        current = self.patch_features(pixel_values)
        batch, dim, height, width = current.shape
        previous = self.missing_previous.weight.view(1, dim, 1, 1).expand(batch, dim, height, width)
        # [batch, 2 * dim, h, w] -> [batch, h * w, 2 * dim]; contiguous, because some linear kernels demand it
        patches = torch.cat((current, previous), dim=1).flatten(2).transpose(1, 2).contiguous()
        hidden = cast(torch.FloatTensor, patches)
        return BaseModelOutput(last_hidden_state=hidden, hidden_states=(hidden,))

    def _init_weights(self, module: nn.Module) -> None:
        # transformers' own init functions leave alone what a checkpoint has already filled; torch's would reset it,
        # BatchNorm's running statistics first of all.
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            init_batchnorm(module)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)


def init_batchnorm(module: nn.BatchNorm2d) -> None:
    """Set what a checkpoint has not filled to the start of training; torch's own would reset the statistics too."""
    init.ones_(module.weight)
    init.zeros_(module.bias)
    for buffer, fill in ((module.running_mean, init.zeros_), (module.running_var, init.ones_)):
        if buffer is not None:
            fill(buffer)
    if module.num_batches_tracked is not None:
        init.zeros_(module.num_batches_tracked)
