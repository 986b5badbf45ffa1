"""RaDialog v2 (``project``), published on the LLaVA-1.5 code base, becomes a stock LLaVA with a BioViL-T tower.

The publication is three files and a base: ``adapter_model`` (LoRA on the language model), ``non_lora_trainables`` or
``non_lora_trainables_extended`` (projector and the whole BioViL-T, BatchNorm's statistics included), configurations,
and ``liuhaotian/llava-v1.5-7b``, whose own tower and projector are not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from radialog_instruct.errors import ModelError
from radialog_model import register
from radialog_model.checkpoint import validate_tokens
from radialog_model.convert.base import Base, base_fingerprint, read_base, with_rows
from radialog_model.convert.biovilt import Tower, convert_tower, md5_note
from radialog_model.convert.lora import add_lora, lora_config
from radialog_model.convert.state import State, read_either, read_file, read_json
from radialog_model.convert.tokenizer import llava_tokenizer
from radialog_model.processing import build_processor
from radialog_model.prompts import IMAGE_TOKEN
from radialog_model.validation import check_fit, few

Log = Callable[[str], None]

ADAPTER, REST, REST_EXTENDED = "adapter_model", "non_lora_trainables", "non_lora_trainables_extended"
TOWER, PROJECTOR = "vision_tower.", "mm_projector."
_WRAPPERS = re.compile(r"^(module\.)?(base_model\.)?(model\.)*")
_PROJECTOR_LAYERS = {"0.": "linear_1.", "2.": "linear_2."}
_FILL = f"take {REST_EXTENDED}.bin, or fill the gaps as the original loader does: --biovilt with the BioViL-T file"


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint in memory.

    Attributes:
        model: The LLaVA, with the LoRA merged or as a PEFT model around it.
        processor: Its processor.
        base_name: Name the adapter gives its base model.
        fingerprint: Hash of the base's language model.
    """

    model: Any
    processor: LlavaProcessor
    base_name: str | None
    fingerprint: str


def convert_v2(
    source: Path, base_folder: Path, *, merge: bool, dtype: torch.dtype, biovilt: Path | None, log: Log
) -> Converted:
    """Convert the published checkpoint.

    Args:
        source: Folder of the publication.
        base_folder: Folder of LLaVA-1.5, in the original's or in transformers' form.
        merge: Whether to merge the LoRA into the language model.
        dtype: Type of the result's weights.
        biovilt: The published BioViL-T file, which fills what ``source`` lacks of the tower.
        log: Told about what was left behind or filled.

    Raises:
        ModelError: If a file is missing, does not fit, or the base is another model.
    """
    register()
    lora_settings = lora_config(read_json(source / "adapter_config.json"), source)
    base = read_base(base_folder)
    fingerprint = base_fingerprint(base.state)  # before the merge, which may write into these tensors
    _check_base(read_json(source / "config.json"), base, lora_settings.base_model_name_or_path)
    projector, tower = _images(source, biovilt, log)
    if base.left_behind:
        log(f"base: {base.left_behind} tensors of its own tower and projector left behind")
    tokenizer = llava_tokenizer(base_folder)
    config = _config(base, tower, tokenizer)
    state = with_rows(base.state, base.text.vocab_size) | projector
    state |= {f"model.vision_tower.{name}": value for name, value in tower.model.state_dict().items()}
    with torch.device("meta"):
        expected = LlavaForConditionalGeneration(config).state_dict()
    check_fit(state, expected, where=str(source), mend="check that --base is LLaVA-1.5 and complete")
    model: Any = LlavaForConditionalGeneration.from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    adapter, adapter_file = read_either(source, ADAPTER)
    with_lora = add_lora(model, lora_settings, _lora(adapter, adapter_file), where=str(adapter_file))
    processor = build_processor(tokenizer, tower.model.config, image_size=tower.model.config.image_size)
    validate_tokens(model, processor)
    result = with_lora.merge_and_unload() if merge else with_lora
    return Converted(result.eval(), processor, lora_settings.base_model_name_or_path, fingerprint)


def _check_base(settings: dict[str, Any], base: Base, trained_on: str | None) -> None:
    mend = f"give the folder of {trained_on or 'liuhaotian/llava-v1.5-7b'} with --base"
    if not base.is_llava:
        raise ModelError(
            "a language model alone; the adapter was trained on a LLaVA", where=str(base.folder), mend=mend
        )
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
        wanted, found = settings.get(key), getattr(base.text, key)
        if wanted is not None and wanted != found:
            what = f"the adapter was trained on another base: {key} {wanted}, here {found}"
            raise ModelError(what, where=str(base.folder), mend=mend)


def _images(source: Path, biovilt: Path | None, log: Log) -> tuple[State, Tower]:
    stem = next((s for s in (REST_EXTENDED, REST) if any(source.glob(f"{s}.*"))), REST)
    state, path = read_either(source, stem)
    plain = {_WRAPPERS.sub("", name): value for name, value in state.items()}
    projector: State = {}
    tower: State = {}
    unknown = []
    for name, value in plain.items():
        layer = next((old for old in _PROJECTOR_LAYERS if name.startswith(PROJECTOR + old)), None)
        if name.startswith(TOWER):
            tower[name.removeprefix(TOWER)] = value
        elif layer:
            rest = name.removeprefix(PROJECTOR + layer)
            projector[f"model.multi_modal_projector.{_PROJECTOR_LAYERS[layer]}{rest}"] = value
        elif ".rotary_emb." not in name:  # tables of the language model that are computed, not learnt
            unknown.append(name)
    if unknown:
        raise ModelError(
            f"names that RaDialog v2 does not have: {few(unknown)}", where=str(path), mend="check the file"
        )
    if biovilt is not None:
        original = read_file(biovilt)
        log(f"tower: {len(original.keys() - tower.keys())} tensors filled from {biovilt.name}")
        tower = original | tower
        if note := md5_note(biovilt):
            log(note)
    converted = convert_tower(tower, where=str(path), mend=_FILL)
    log(f"tower: {converted.describe_unused()}")
    return projector, converted


def _config(base: Base, tower: Tower, tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    base.text.vocab_size = max(len(base.state["model.language_model.embed_tokens.weight"]), len(tokenizer))
    base.text.pad_token_id = tokenizer.pad_token_id
    return LlavaConfig(
        vision_config=tower.model.config,
        text_config=base.text,
        image_token_index=tokenizer.get_vocab()[IMAGE_TOKEN],
        image_seq_length=tower.model.config.num_patches,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=base.text.tie_word_embeddings,
    )


def _lora(state: State, path: Path) -> State:
    renamed: State = {}
    for name, value in state.items():
        plain = _WRAPPERS.sub("", name).replace(".default.weight", ".weight")
        if ".lora_A." not in plain and ".lora_B." not in plain:
            raise ModelError(f"{name} is no part of a LoRA", where=str(path), mend="check the file")
        renamed[f"base_model.model.model.language_model.{plain}"] = value
    return renamed
