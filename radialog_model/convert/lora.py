"""LoRA weights onto a model, by PEFT, with every name accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict

from radialog_instruct.errors import ModelError
from radialog_model.convert.state import State
from radialog_model.lora import KEPT_WHOLE
from radialog_model.validation import check_fit

_KEYS = ("base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "bias", "fan_in_fan_out", "use_rslora")


def lora_config(settings: dict[str, Any], folder: Path) -> LoraConfig:
    """Return PEFT's configuration from a published ``adapter_config.json``, bound to the language model.

    Args:
        settings: The file's content; keys that only older versions of PEFT know are left out.
        folder: Its folder, for errors.

    Raises:
        ModelError: If it is no LoRA that can be converted.
    """
    where = str(folder / "adapter_config.json")
    if settings.get("peft_type") != "LORA" or not isinstance(settings.get("target_modules"), list):
        raise ModelError(
            "not the configuration of a LoRA with named target modules", where=where, mend="check the file"
        )
    for key in ("use_dora", "modules_to_save"):
        if settings.get(key):
            raise ModelError(f"{key} is set, which RaDialog v2 does not use", where=where, mend="check the file")
    known = {key: settings[key] for key in _KEYS if settings.get(key) is not None}
    targets = "|".join(sorted(settings["target_modules"]))
    return LoraConfig(**known, target_modules=rf".*language_model.*\.({targets})", modules_to_save=list(KEPT_WHOLE))


def add_lora(model: Any, config: LoraConfig, lora: State, *, where: str) -> Any:
    """Wrap a model with LoRA weights.

    Args:
        model: A LLaVA.
        config: The configuration.
        lora: Tensors under PEFT's names.
        where: Their file, for errors.

    Returns:
        The PEFT model.

    Raises:
        ModelError: If tensors are missing, not known, or of the wrong shape.
    """
    named = config.base_model_name_or_path
    config.base_model_name_or_path = None
    try:
        wrapped: Any = get_peft_model(model, config)
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the LoRA does not fit the model ({first})", where=where, mend="check --base") from error
    # PEFT would store the name of the model it wraps, and one built from tensors has none.
    wrapped.peft_config["default"].base_model_name_or_path = named
    expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    adapters = {name: value for name, value in expected.items() if ".lora_" in name}
    check_fit(lora, adapters, where=where, mend="adapter_config.json must belong to these weights")
    set_peft_model_state_dict(wrapped, lora | {n: v for n, v in expected.items() if n not in adapters})
    return wrapped
