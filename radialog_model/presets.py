"""The shapes of the ``project`` variant: which tower, how its features enter the language model, and scratch sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import Dinov2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedConfig

from radialog_instruct.errors import UsageError
from radialog_model import register
from radialog_model.biovil import BioViLTConfig
from radialog_model.processing import crop_tokens


@dataclass(frozen=True)
class Preset:
    """Shape of tower and language model.

    Attributes:
        tower: Shape of the image tower; pretrained weights bring their own.
        image_size: Side of the crop in pixels.
        context: Longest sequence in tokens, image tokens included.
        hidden_size: Width of the language model, where it is trained from scratch.
        intermediate_size: Inner width of its feed-forward layers.
        layers: Its layers.
        heads: Its attention heads.
        mean: Mean of each colour that the tower's pixels are reduced by; None leaves them in 0..1.
        std: Standard deviation of each colour.
    """

    tower: PreTrainedConfig
    image_size: int
    context: int
    hidden_size: int = 4096
    intermediate_size: int = 11008
    layers: int = 32
    heads: int = 32
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def presets() -> dict[str, Preset]:
    """Return the presets by name: the paper's, one with a DINOv2-class tower, the demonstration, and one for tests."""
    dinov2 = Dinov2Config(hidden_size=768, image_size=518, patch_size=14)
    grey = (0.5307, 0.5307, 0.5307), (0.2583, 0.2583, 0.2583)  # RAD-DINO's own statistics of chest X-rays
    return {
        "project-biovilt": Preset(BioViLTConfig(), 448, 4096),
        "project-raddino": Preset(dinov2, 518, 4096, mean=grey[0], std=grey[1]),
        "demo": Preset(_small_tower((1, 1, 2, 1), (64, 128, 256, 512), 24, 128, 224), 224, 1024, 256, 640, 3, 4),
        "tiny": Preset(_small_tower((1, 1, 1, 1), (8, 16, 24, 32), 8, 32, 64), 64, 1024, 64, 128, 2, 4),
    }


def _small_tower(
    depths: tuple[int, ...], widths: tuple[int, ...], stem: int, projection: int, image_size: int
) -> BioViLTConfig:
    # A tower from scratch has no statistics worth freezing, so its BatchNorm is live until training freezes it.
    return BioViLTConfig(
        depths=depths,
        widths=widths,
        stem_width=stem,
        projection_dim=projection,
        hidden_size=2 * projection,
        image_size=image_size,
        freeze_batchnorm=False,
    )


def preset_named(name: str) -> Preset:
    """Return a preset.

    Raises:
        UsageError: If there is none of that name.
    """
    known = presets()
    if name not in known:
        raise UsageError(f"no preset {name!r}", mend=f"choose from: {', '.join(known)}")
    return known[name]


def scratch_llm(preset: Preset, *, vocab_size: int, pad: int, bos: int, eos: int) -> LlamaConfig:
    """Return the configuration of a language model of the preset's size.

    Args:
        preset: The sizes.
        vocab_size: Size of the tokenizer.
        pad: Id of the padding token.
        bos: Id of the first token.
        eos: Id of the token that ends a turn.
    """
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=preset.hidden_size,
        intermediate_size=preset.intermediate_size,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.heads,
        max_position_embeddings=preset.context,
        tie_word_embeddings=preset.hidden_size < 1024,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
    )


def project_config(
    llm: PreTrainedConfig, tower: PreTrainedConfig, *, image_size: int, image_token_id: int
) -> LlavaConfig:
    """Return the configuration of a stock LLaVA.

    Args:
        llm: The language model.
        tower: The image tower.
        image_size: Side of the crop in pixels.
        image_token_id: Id of the image placeholder.
    """
    register()
    text: Any = llm
    return LlavaConfig(
        vision_config=tower,
        text_config=llm,
        image_token_index=image_token_id,
        image_seq_length=crop_tokens(tower, image_size),
        vision_feature_select_strategy="full" if isinstance(tower, BioViLTConfig) else "default",
        vision_feature_layer=-1,
        tie_word_embeddings=text.tie_word_embeddings,
    )


def build_project(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """Return a stock LLaVA with random weights."""
    return LlavaForConditionalGeneration(config)
