"""A checkpoint without its language model: all that a server needs to write prompts for another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from radialog_instruct.errors import ModelError
from radialog_model import register
from radialog_model.checkpoint import Checkpoint, checkpoint_folder, description, open_findings
from radialog_model.lora import ADAPTER_CONFIG

_TOWER = "vision_tower."


def load_tower(weights: str | Path | None = None, *, device: str = "cpu") -> Checkpoint:
    """Load processor, tower and findings head; the language model has shapes but no weights.

    Args:
        weights: Folder or repository id; the embedded demonstration weights by default.
        device: Where the tower computes, in 32 bits.

    Raises:
        ModelError: If the checkpoint cannot be found or read, or is an adapter without its base.
    """
    register()
    folder = checkpoint_folder(weights)
    if (folder / ADAPTER_CONFIG).is_file():
        mend = "run radialog-model export --merge first, and serve what it writes"
        raise ModelError("vLLM serves whole checkpoints, this is an adapter", where=str(folder), mend=mend)
    try:
        config: Any = AutoConfig.from_pretrained(folder)
        processor: Any = AutoProcessor.from_pretrained(folder)
        with torch.device("meta"):
            model: Any = AutoModelForImageTextToText.from_config(config)
        tower: Any = AutoModel.from_config(config.vision_config, dtype=torch.float32)
        tower.load_state_dict(_tower_weights(folder))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the tower cannot be loaded ({first})", where=str(folder)) from error
    model.model.vision_tower = tower.to(device)
    described = description(folder)
    return Checkpoint(
        model=model.eval(),
        processor=processor,
        findings=open_findings(folder, model.model.vision_tower, processor, "", device),
        notices=tuple(described.get("notices", ())),
        fingerprint="",
        training=described.get("training", {}),
    )


def _tower_weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                if _TOWER in name:
                    found[name.partition(_TOWER)[2]] = tensors.get_tensor(name)
    return found
