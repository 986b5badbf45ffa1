"""What other engines expect: key names of vLLM's own towers, and the language model alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from radialog_instruct.errors import UsageError

VLLM_TOWERS = ("clip_vision_model", "siglip_vision_model")
"""Towers of a LLaVA that vLLM runs natively."""
INDEX = "model.safetensors.index.json"
_TOWER_KEY = re.compile(r"^((?:model\.)?vision_tower\.)(?!vision_model\.)")
_LANGUAGE = "model.language_model."


def check_vllm_tower(config: Any, folder: Path) -> None:
    """Check that vLLM runs a model's tower natively.

    Raises:
        UsageError: If it does not; such a model needs no export.
    """
    kind = config.vision_config.model_type
    if kind not in VLLM_TOWERS:
        raise UsageError(
            f"vLLM has no native LLaVA with the tower {kind}; its transformers backend runs the folder as it is",
            where=str(folder),
            mend="leave out --format, install radialog beside vLLM and run: "
            f"vllm serve {folder} --model-impl transformers",
        )


def rename_tower_keys(folder: Path) -> int:
    """Give the tower's tensors the names that vLLM looks for; transformers reads them under either.

    Args:
        folder: A saved model.

    Returns:
        Tensors renamed.
    """
    renamed = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as stored:
            metadata = stored.metadata()
            state = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118 - no mapping
        new = {_TOWER_KEY.sub(r"\1vision_model.", name): value for name, value in state.items()}
        if new.keys() != state.keys():
            renamed += len(new.keys() - state.keys())
            save_file(new, path, metadata)
    index = folder / INDEX
    if index.is_file():
        content = json.loads(index.read_text())
        content["weight_map"] = {_TOWER_KEY.sub(r"\1vision_model.", k): v for k, v in content["weight_map"].items()}
        index.write_text(json.dumps(content, indent=2) + "\n")
    return renamed


def write_index(folder: Path) -> None:
    """Write the index of a single weight file, which a saved model has only where it lies in shards.

    Without one vLLM reads every safetensors file of a folder as the model's, the findings head too.

    Args:
        folder: A saved model.
    """
    weights, index = folder / "model.safetensors", folder / INDEX
    if not weights.is_file() or index.is_file():
        return
    with safe_open(weights, "pt") as stored:
        placed = dict.fromkeys(stored.keys(), weights.name)
    content = {"metadata": {"total_size": weights.stat().st_size}, "weight_map": placed}
    index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def language_model(model: Any) -> Any:
    """Return a LLaVA's language model as a model of its own, sharing the weights."""
    config = model.config.text_config
    state = {
        name.replace(_LANGUAGE, "model.", 1): value
        for name, value in model.state_dict().items()
        if name.startswith((_LANGUAGE, "lm_head."))
    }
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return kind.from_pretrained(None, config=config, state_dict=state, dtype=model.dtype)
