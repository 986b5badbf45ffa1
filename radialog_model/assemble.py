"""Joins a language model and an image tower into a stock LLaVA with its processor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from radialog_instruct.errors import ModelError
from radialog_model import register
from radialog_model.convert.base import llava_language_model
from radialog_model.convert.tokenizer import with_leading_space
from radialog_model.presets import Preset, build_project, project_config, scratch_llm
from radialog_model.processing import build_processor
from radialog_model.prompts import IMAGE_TOKEN


@dataclass(frozen=True)
class Assembled:
    """A model ready to be trained, and its processor."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor


def from_scratch(preset: Preset, tokenizer: PreTrainedTokenizerBase) -> Assembled:
    """Return a model of random weights in the preset's sizes.

    Args:
        preset: The sizes.
        tokenizer: The tokenizer, which knows the image placeholder.
    """
    tokens: Any = tokenizer
    llm = scratch_llm(
        preset,
        vocab_size=len(tokens),
        pad=tokens.pad_token_id,
        bos=tokens.bos_token_id,
        eos=tokens.eos_token_id,
    )
    image_token_id = tokens.convert_tokens_to_ids(IMAGE_TOKEN)
    config = project_config(llm, preset.tower, image_size=preset.image_size, image_token_id=image_token_id)
    return Assembled(build_project(config), build_processor(tokenizer, preset.tower, image_size=preset.image_size))


def from_pretrained_parts(
    preset: Preset,
    base_model: str,
    tower_weights: str | None,
    *,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    quantization: str = "none",
) -> Assembled:
    """Join a pretrained language model and an image tower; the projector between them is new.

    Args:
        preset: Shape of the tower where no weights are given, and the size of the crop.
        base_model: Folder or Hub name of the language model.
        tower_weights: Folder or Hub name of the tower; random weights by default.
        image_size: Side of the crop in pixels; the preset's by default.
        dtype: Type of the language model's weights; tower and projector are held in 32 bits.
        quantization: ``4bit`` loads the language model with bitsandbytes.

    Raises:
        ModelError: If one of them cannot be found, or the language model is none.
    """
    register()
    tokenizer: Any = load_tokenizer(base_model)
    llm = load_llm(base_model, dtype=dtype, quantization=quantization, vocabulary=len(tokenizer))
    tower = _tower(preset, tower_weights)
    side = image_size or preset.image_size
    image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    config = project_config(llm.config, tower.config, image_size=side, image_token_id=image_token_id)
    processor = build_processor(tokenizer, tower.config, image_size=side, mean=preset.mean, std=preset.std)
    return Assembled(compose(config, llm, tower), processor)


def compose(
    config: LlavaConfig, llm: PreTrainedModel, tower: PreTrainedModel, projector: nn.Module | None = None
) -> LlavaForConditionalGeneration:
    """Return a LLaVA that holds the given parts themselves.

    Args:
        config: Its configuration.
        llm: A causal language model.
        tower: An image tower.
        projector: From its features to tokens; a new one by default.
    """
    kind = _align() if config.model_type == "radialog_align" else LlavaForConditionalGeneration
    with torch.device("meta"):  # the parts come ready; nothing is allocated twice
        model = kind(config)
    whole: Any = model
    language: Any = llm
    whole.model.language_model = language.base_model
    whole.lm_head = language.get_output_embeddings()
    whole.model.vision_tower = tower
    whole.model.multi_modal_projector = projector if projector is not None else _projector(config)
    whole.generation_config = language.generation_config
    return model


def load_llm(base_model: str, *, dtype: torch.dtype, quantization: str, vocabulary: int) -> PreTrainedModel:
    """Load a language model, its embeddings wide enough for the tokenizer.

    A new token's embedding is the mean of the others: never the most probable next token, and the same whenever it is
    made.

    Args:
        base_model: Folder or Hub name; of the folder of a LLaVA its language model is taken.
        dtype: Type of the weights.
        quantization: ``none`` or ``4bit``; a LLaVA's language model is not quantized.
        vocabulary: Tokens of the tokenizer.

    Raises:
        ModelError: If there is no such language model, or the extra for quantization is missing.
    """
    options: dict[str, Any] = {"dtype": dtype}
    if quantization == "4bit":
        options["quantization_config"] = _four_bits(dtype)
    try:
        llm: Any = llava_language_model(base_model, dtype) or AutoModelForCausalLM.from_pretrained(
            base_model, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        mend = "give the folder of a language model, or the name of a Hub repository you can reach"
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the base model cannot be loaded ({first})", where=base_model, mend=mend) from error
    if vocabulary > llm.get_input_embeddings().num_embeddings:
        widen(llm, vocabulary)
    loaded: PreTrainedModel = llm
    return loaded


def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """Load a language model's tokenizer and teach it the image placeholder.

    Raises:
        ModelError: If there is none, or it has no token that ends a turn.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(base_model, extra_special_tokens={"image_token": IMAGE_TOKEN})
    except (OSError, ValueError, KeyError) as error:
        mend = "give the folder of a language model, or the name of a Hub repository you can reach"
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"the base model's tokenizer cannot be loaded ({first})", where=base_model, mend=mend
        ) from error
    tokenizer = _published_pieces(tokenizer)
    if tokenizer.eos_token is None:
        raise ModelError("the tokenizer has no token that ends a turn", where=base_model, mend="set its eos_token")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.padding_side = "left"
    kept: PreTrainedTokenizerBase = tokenizer
    return kept


def _published_pieces(tokenizer: Any) -> Any:
    """Undo what transformers 5 changed: a Llama tokenizer's turn after ``</s>`` begins with a space again."""
    pieces = json.loads(tokenizer.backend_tokenizer.to_str()).get("pre_tokenizer") or {}
    if pieces.get("type") != "Metaspace" or pieces.get("prepend_scheme") != "first":
        return tokenizer
    mended = with_leading_space(tokenizer.backend_tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=mended,
        **{name: token for name, token in tokenizer.special_tokens_map.items() if name != "image_token"},
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _tower(preset: Preset, weights: str | None) -> PreTrainedModel:
    if weights in (None, "random"):
        random: PreTrainedModel = AutoModel.from_config(preset.tower)
        return random
    try:
        config = AutoConfig.from_pretrained(weights)
        tower: Any
        tower, report = AutoModel.from_pretrained(weights, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, KeyError) as error:
        mend = "give the folder of an image tower; radialog-model convert makes one of published BioViL-T weights"
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the tower cannot be loaded ({first})", where=weights, mend=mend) from error
    if report["missing_keys"]:
        some = sorted(report["missing_keys"])
        raise ModelError(f"{len(some)} tensors of the tower are missing, first {some[0]}", where=weights)
    if config.model_type != preset.tower.model_type:
        mend = f"this preset wants {preset.tower.model_type}"
        raise ModelError(f"the tower is a {config.model_type}", where=weights, mend=mend)
    kept: PreTrainedModel = tower
    return kept


def _align() -> type[LlavaForConditionalGeneration]:
    from radialog_model.align.modeling import RaDialogAlignForConditionalGeneration

    return RaDialogAlignForConditionalGeneration


def _projector(config: LlavaConfig) -> nn.Module:
    if config.model_type == "radialog_align":
        from radialog_model.align.modeling import AlignProjector

        return AlignProjector(config)  # type: ignore[arg-type]
    projector: nn.Module = LlavaMultiModalProjector(config)
    for linear in projector.children():
        if isinstance(linear, nn.Linear):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
    return projector


def widen(llm: Any, vocabulary: int) -> None:
    """Add tokens to a language model, each with the mean of the others' embeddings.

    Args:
        llm: A causal language model.
        vocabulary: Tokens it shall know.
    """
    old = llm.get_input_embeddings().num_embeddings
    llm.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        for table in (llm.get_input_embeddings(), llm.get_output_embeddings()):
            table.weight[old:] = table.weight[:old].float().mean(0).to(table.weight.dtype)


def _four_bits(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModelError(
            "4-bit weights need bitsandbytes", mend='pip install "radialog[train]" bitsandbytes'
        ) from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype == torch.float32 else dtype,
    )
