"""Low-rank adapters on the language model, with projector and tower in the same adapter file.

LLaVA's own code kept what is not an adapter in a second file, which was lost or mixed up with another run's too easily;
here one file and its configuration make the model whole, given the language model it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, prepare_model_for_kbit_training
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, LlavaForConditionalGeneration

from radialog_instruct.errors import ModelError
from radialog_model.assemble import compose, load_llm
from radialog_model.config import Lora
from radialog_model.convert.base import check_recorded_base

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KEPT_WHOLE = ("multi_modal_projector", "vision_tower")
"""Modules that an adapter file holds as they are, trained or not: only the language model comes from elsewhere."""


def add_lora(
    model: LlavaForConditionalGeneration, settings: Lora, *, train: Collection[str], base_model: str, quantized: bool
) -> PeftModel:
    """Wrap a model so that its language model learns through adapters.

    Args:
        model: The model.
        settings: Size and targets of the adapters.
        train: Which of ``projector`` and ``tower`` learn beside them.
        base_model: Where the language model came from; stored with the adapter.
        quantized: Whether the language model's weights are quantized.

    Raises:
        ModelError: If the language model has no layer of the given names.
    """
    if quantized:
        model = prepare_model_for_kbit_training(model)  # type: ignore[no-untyped-call]
    names = "|".join(settings.target)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=rf".*language_model\..*\.({names})",
        modules_to_save=list(KEPT_WHOLE),
    )
    try:
        wrapped: Any = get_peft_model(model, config)
    except ValueError as error:
        mend = "name linear layers of this language model in dialog.lora.target"
        raise ModelError(f"no layer named {', '.join(settings.target)}", where=base_model, mend=mend) from error
    # PEFT would store the LLaVA's own name, which is none: it was joined here and lies in no folder.
    wrapped.peft_config["default"].base_model_name_or_path = base_model
    for module, part in zip(KEPT_WHOLE, ("projector", "tower"), strict=True):
        if part not in train:
            getattr(wrapped.base_model.model.model, module).requires_grad_(False)
    wrapped.train()  # frozen BatchNorm and query transformers take their parameters out of training here
    peft: PeftModel = wrapped
    return peft


def save_adapter(model: PeftModel, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Write the adapter file, and the configuration of the LLaVA it belongs to.

    Args:
        model: The wrapped model.
        folder: Where to.
        state: All weights, gathered from where they were sharded; those of the model by default.
    """
    inner: Any = model
    # "auto" would ask the Hub for the base model's vocabulary; widened embeddings are made anew from it instead.
    inner.save_pretrained(folder, save_embedding_layers=False, **({} if state is None else {"state_dict": state}))
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's template with nothing filled in
    inner.base_model.model.config.save_pretrained(folder)
    inner.base_model.model.generation_config.save_pretrained(folder)


def load_adapter(folder: Path, *, base_model: str | None, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """Load a model from an adapter folder and merge the adapters into the language model.

    Args:
        folder: What ``save_adapter`` wrote.
        base_model: The language model; the one named in the adapter's configuration by default.
        dtype: Type of the weights.

    Raises:
        ModelError: If base model and adapter do not fit, or a tensor is missing.
    """
    config: Any = AutoConfig.from_pretrained(folder)
    base = base_model or json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    check_recorded_base(folder, base)
    llm: Any = load_llm(base, dtype=dtype, quantization="none", vocabulary=config.text_config.vocab_size)
    for size in ("hidden_size", "num_hidden_layers", "vocab_size"):
        wanted, found = getattr(config.text_config, size), getattr(llm.config, size)
        if wanted != found:
            mend = "give the language model it was trained on"
            raise ModelError(f"the adapter wants {size} {wanted}, the base model has {found}", where=base, mend=mend)
    model: Any = compose(config, llm, AutoModel.from_config(config.vision_config))
    wrapped: Any = PeftModel.from_pretrained(model.to(dtype), folder)
    _check_complete(wrapped, folder)
    merged: LlavaForConditionalGeneration = wrapped.merge_and_unload()
    return merged


def _check_complete(model: Any, folder: Path) -> None:
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        found = set(file.keys())
    for kind, names in (("missing", wanted - found), ("unexpected", found - wanted)):
        if names:
            what = f"{len(names)} tensors of the adapter are {kind}, first {sorted(names)[0]}"
            raise ModelError(what, where=str(folder / ADAPTER_WEIGHTS))


def unwrapped(model: Any) -> LlavaForConditionalGeneration:
    """Return the LLaVA inside its adapters."""
    inner: LlavaForConditionalGeneration
    inner = model if isinstance(model, LlavaForConditionalGeneration) else model.base_model.model
    return inner
