"""The sizes of the ``project`` variant, and the stock LLaVA built from them."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from radialog_instruct.errors import UsageError
from radialog_model import register
from radialog_model.biovil import BioViLTConfig


@dataclass(frozen=True)
class Preset:
    """Sizes of tower and language model.

    Attributes:
        tower: Shape of the image tower.
        hidden_size: Width of the language model.
        intermediate_size: Inner width of its feed-forward layers.
        layers: Its layers.
        heads: Its attention heads.
        context: Longest sequence in tokens, image tokens included.
    """

    tower: BioViLTConfig
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context: int


def presets() -> dict[str, Preset]:
    """Return the presets by name: the paper's sizes, the shipped demonstration, and one for tests."""
    return {
        "project-biovilt": Preset(BioViLTConfig(), 4096, 11008, 32, 32, 4096),
        "demo": Preset(_small_tower((1, 1, 2, 1), (64, 128, 256, 512), 24, 128, 224), 256, 640, 3, 4, 1024),
        "tiny": Preset(_small_tower((1, 1, 1, 1), (8, 16, 24, 32), 8, 32, 64), 64, 128, 2, 4, 1024),
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


def project_config(
    preset: Preset, *, vocab_size: int, image_token_id: int, pad: int, bos: int, eos: int
) -> LlavaConfig:
    """Return the configuration of a stock LLaVA with a BioViL-T tower.

    Args:
        preset: The sizes.
        vocab_size: Size of the tokenizer.
        image_token_id: Id of the image placeholder.
        pad: Id of the padding token.
        bos: Id of the first token.
        eos: Id of the token that ends a turn.
    """
    register()
    text = LlamaConfig(
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
    return LlavaConfig(
        vision_config=preset.tower,
        text_config=text,
        image_token_index=image_token_id,
        image_seq_length=preset.tower.num_patches,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=text.tie_word_embeddings,
    )


def build_project(config: LlavaConfig) -> LlavaForConditionalGeneration:
    """Return a stock LLaVA with random weights."""
    return LlavaForConditionalGeneration(config)
