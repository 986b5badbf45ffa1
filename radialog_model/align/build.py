"""From a trained first stage to a model that answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Blip2QFormerConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from radialog_instruct.errors import ModelError
from radialog_model import register
from radialog_model.align.configuration import RaDialogAlignConfig
from radialog_model.align.folder import load_stage1
from radialog_model.align.modeling import AlignProjector, RaDialogAlignForConditionalGeneration
from radialog_model.align.processing import RaDialogAlignProcessor, tower_images
from radialog_model.align.stage1 import AlignStage1Model
from radialog_model.assemble import compose, load_llm, load_tokenizer, widen
from radialog_model.biovil import BioViLTConfig
from radialog_model.prompts import IMAGE_TOKEN, chat_template

_TEXT_BRANCH = (".intermediate.", ".output.dense.", ".output.LayerNorm.")


@dataclass(frozen=True)
class BuiltAlign:
    """A model of the variant ``align`` and its processor, ready to be trained on dialogs or to be saved.

    Attributes:
        model: Tower and query transformer are frozen; ``language_projection`` is new.
        processor: Writes one image token a query.
    """

    model: RaDialogAlignForConditionalGeneration
    processor: RaDialogAlignProcessor


def build_align(
    stage1: Path | AlignStage1Model,
    *,
    llm: str | Any | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: torch.dtype = torch.float32,
    quantization: str = "none",
) -> BuiltAlign:
    """Join tower and query transformer of a first stage with a language model.

    Only ``multi_modal_projector.language_projection`` is new, drawn from torch's global random numbers; with LoRA on
    the language model it is what the second stage trains: ``modules_to_save=["language_projection"]`` in PEFT.

    Args:
        stage1: Folder that ``radialog-model align`` wrote, or the model itself.
        llm: Folder or Hub name of a causal language model, or the model itself; None makes a tiny random Llama, for
            which ``tokenizer`` must be given.
        tokenizer: Tokenizer of the language model; that of ``llm`` by default. It is taught the image placeholder.
        dtype: Type in which a language model is loaded; tower and query transformer are 32 bits.
        quantization: ``4bit`` loads the language model with bitsandbytes.

    Raises:
        ModelError: If first stage or language model cannot be loaded.
    """
    register()
    first = stage1 if isinstance(stage1, AlignStage1Model) else load_stage1(stage1)[0]
    tokens = _tokenizer(llm, tokenizer)
    language = _language_model(llm, tokens, dtype, quantization)
    config = _config(first, language.config, tokens)
    made: Any = compose(config, language, first.vision_tower, _projector(config, first))
    first.vision_tower.config.freeze_batchnorm = True
    first.vision_tower.requires_grad_(False)
    made.train()
    return BuiltAlign(made, align_processor(tokens, first.vision_tower.config, config.num_query_tokens))


def align_processor(
    tokenizer: PreTrainedTokenizerBase, tower: BioViLTConfig, num_query_tokens: int
) -> RaDialogAlignProcessor:
    """Return the processor for a tower and a number of queries.

    Args:
        tokenizer: Tokenizer of the language model, which knows the image placeholder.
        tower: The tower, whose input size sets the crop.
        num_query_tokens: Tokens an image takes.
    """
    return RaDialogAlignProcessor(
        image_processor=tower_images(tower),
        tokenizer=tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy="full",
        chat_template=chat_template(),
        num_query_tokens=num_query_tokens,
    )


def answering_shape(shape: PreTrainedConfig | Any) -> Blip2QFormerConfig:
    """Return a query transformer's shape without the branch for text."""
    assert isinstance(shape, Blip2QFormerConfig)
    return Blip2QFormerConfig(**{**shape.to_dict(), "use_qformer_text_input": False})


def without_text_branch(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a query transformer that images need."""
    return {
        name: value
        for name, value in state.items()
        if not any(part in name for part in _TEXT_BRANCH) or "attention." in name
    }


def _config(first: AlignStage1Model, text: PreTrainedConfig, tokenizer: Any) -> RaDialogAlignConfig:
    return RaDialogAlignConfig(
        vision_config=first.vision_tower.config,
        text_config=text,
        qformer_config=answering_shape(first.config.qformer_config),
        num_query_tokens=first.config.num_query_tokens,
        released_bugs=first.config.released_bugs,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=first.config.num_query_tokens,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )


def _projector(config: RaDialogAlignConfig, first: AlignStage1Model) -> AlignProjector:
    projector = AlignProjector(config)
    projector.query_transformer.load_state_dict(without_text_branch(first.query_transformer.state_dict()))
    torch.nn.init.normal_(projector.language_projection.weight, std=0.02)
    torch.nn.init.zeros_(projector.language_projection.bias)
    return projector


def _tokenizer(llm: Any, tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    if tokenizer is None:
        if not isinstance(llm, str):
            raise ModelError("no tokenizer for the language model", mend="give 'tokenizer', or the model's folder")
        return load_tokenizer(llm)
    tokens: Any = tokenizer
    if IMAGE_TOKEN not in tokens.get_vocab():
        tokens.add_special_tokens({"extra_special_tokens": [IMAGE_TOKEN]})
    return tokenizer


def _language_model(llm: Any, tokenizer: Any, dtype: torch.dtype, quantization: str) -> Any:
    if llm is None:
        return LlamaForCausalLM(_tiny_llama(tokenizer))
    if isinstance(llm, str):
        return load_llm(llm, dtype=dtype, quantization=quantization, vocabulary=len(tokenizer))
    if len(tokenizer) > llm.get_input_embeddings().num_embeddings:
        widen(llm, len(tokenizer))
    return llm


def _tiny_llama(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
