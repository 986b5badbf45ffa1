"""Tokenizer, image processor and the stock processor that joins them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from radialog_model.biovil import BioViLTConfig
from radialog_model.prompts import IMAGE_TOKEN, chat_template

if TYPE_CHECKING:
    from transformers import LlavaConfig

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
RESIZE_MARGIN = 8 / 7
"""The short side is resized to this multiple of the crop, as in the published 512 -> 448."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; text it never saw falls back to bytes.

    Args:
        texts: The training texts.
        vocab_size: Number of tokens, special ones included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS, IMAGE_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_processor(
    tokenizer: PreTrainedTokenizerBase,
    tower: PreTrainedConfig,
    *,
    image_size: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> LlavaProcessor:
    """Return the stock LLaVA processor for a tower.

    Args:
        tokenizer: The tokenizer, which knows the image placeholder.
        tower: The tower, whose stride sets the token count.
        image_size: Side of the crop in pixels.
        mean: Mean of each colour; None leaves the pixels in 0..1.
        std: Standard deviation of each colour.
    """
    images = CLIPImageProcessorPil(
        size={"shortest_edge": round(image_size * RESIZE_MARGIN)},
        crop_size={"height": image_size, "width": image_size},
        do_normalize=mean is not None,
        image_mean=mean,
        image_std=std,
        do_rescale=True,
        do_convert_rgb=True,
    )
    stride: Any = tower
    has_class_token = not isinstance(tower, BioViLTConfig)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=stride.patch_size,
        vision_feature_select_strategy="default" if has_class_token else "full",
        num_additional_image_tokens=int(has_class_token),
        chat_template=chat_template(),
    )


def crop_tokens(tower: PreTrainedConfig, image_size: int) -> int:
    """Return the number of language-model tokens of an image: the tower's patches, without its class token.

    Args:
        tower: The tower.
        image_size: Side of the crop in pixels.
    """
    stride: Any = tower
    return int((image_size // stride.patch_size) ** 2)


def image_features(config: LlavaConfig, image_size: int) -> int:
    """Return the number of features, and so of language-model tokens, that a model makes of an image.

    Args:
        config: Configuration of a LLaVA. A tower with a class token (CLIP, DINOv2) loses it by the strategy
            ``default``; a BioViL-T tower has none.
        image_size: Side of the crop in pixels.
    """
    queries = getattr(config, "num_query_tokens", None)
    if queries is not None:
        return int(queries)
    assert isinstance(config.vision_config, PreTrainedConfig)
    has_class_token = not isinstance(config.vision_config, BioViLTConfig)
    kept = has_class_token and config.vision_feature_select_strategy == "full"
    return crop_tokens(config.vision_config, image_size) + kept
