"""Tokenizer, image processor and the stock processor that joins them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

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


def build_processor(tokenizer: PreTrainedTokenizerFast, tower: BioViLTConfig) -> LlavaProcessor:
    """Return the stock LLaVA processor for a tower.

    Args:
        tokenizer: The tokenizer.
        tower: The tower, whose input size and stride set crop and token count.
    """
    crop = tower.image_size
    images = CLIPImageProcessorPil(
        size={"shortest_edge": round(crop * RESIZE_MARGIN)},
        crop_size={"height": crop, "width": crop},
        do_normalize=False,
        do_rescale=True,
        do_convert_rgb=True,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=chat_template(),
    )


def image_features(config: LlavaConfig) -> int:
    """Return the number of features, and so of language-model tokens, that a model makes of an image.

    Args:
        config: Configuration of a LLaVA. A tower with a class token (CLIP, DINOv2) loses it by the strategy
            ``default``; a BioViL-T tower has none.
    """
    queries = getattr(config, "num_query_tokens", None)
    if queries is not None:
        return int(queries)
    tower: Any = config.vision_config
    patches = (tower.image_size // tower.patch_size) ** 2
    has_class_token = not isinstance(tower, BioViLTConfig)
    return int(patches + (has_class_token and config.vision_feature_select_strategy == "full"))
