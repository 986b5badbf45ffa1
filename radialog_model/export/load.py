"""A checkpoint as it lies on disk, whole or as an adapter, read for writing it out again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from radialog_instruct.errors import ModelError, UsageError
from radialog_model import register
from radialog_model.checkpoint import RADIALOG_FILE, checkpoint_folder, validate_tokens
from radialog_model.convert.base import base_fingerprint, read_base, with_rows
from radialog_model.convert.lora import add_lora
from radialog_model.convert.state import State, read_file, read_json
from radialog_model.validation import check_fit, few

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CARRIED = ("findings_head.safetensors", "findings_head.json", "tokenizer.model")
"""Files that go along unchanged."""
_PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Source:
    """A checkpoint that is to be exported.

    Attributes:
        folder: Where it lies.
        model: The whole model.
        processor: Its processor.
        described: Content of its ``radialog.json``.
    """

    folder: Path
    model: Any
    processor: Any
    described: dict[str, Any]

    def carry(self, target: Path) -> None:
        """Copy the files that go along unchanged."""
        for name in CARRIED:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, target / name)


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter and not a whole model."""
    return (folder / ADAPTER_CONFIG).is_file()


def read_source(folder: Path, *, base: str | None, dtype: torch.dtype | None) -> Source:
    """Read a checkpoint; an adapter is merged into its base.

    Args:
        folder: The checkpoint.
        base: Folder or Hub name of an adapter's base; the one its configuration names by default.
        dtype: Type of the weights; as stored by default.

    Raises:
        ModelError: If weights, base or processor do not fit.
        UsageError: If a base is given to a whole checkpoint.
    """
    register()
    if is_adapter(folder):
        model = _merged(folder, base, dtype)
    elif base is not None:
        raise UsageError("a whole checkpoint has no base", where=str(folder), mend="leave out --base")
    else:
        model = _whole(folder, dtype)
    try:
        processor = AutoProcessor.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the processor cannot be loaded ({first})", where=str(folder)) from error
    validate_tokens(model, processor)
    description = folder / RADIALOG_FILE
    return Source(folder, model.eval(), processor, read_json(description) if description.is_file() else {})


def _whole(folder: Path, dtype: torch.dtype | None) -> Any:
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype or "auto", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the checkpoint cannot be loaded ({first})", where=str(folder)) from error
    model, report = loaded
    wrong = [f"{kind}: {few(report[f'{kind}_keys'])}" for kind in ("missing", "unexpected") if report[f"{kind}_keys"]]
    if wrong:
        raise ModelError(f"the weights do not fit the configuration ({'; '.join(wrong)})", where=str(folder))
    return model


def _merged(folder: Path, base_name: str | None, dtype: torch.dtype | None) -> Any:
    settings = LoraConfig.from_pretrained(str(folder))
    named = base_name or settings.base_model_name_or_path
    mend = "name the folder of the base model with --base"
    if not named:
        raise ModelError("the adapter names no base model", where=str(folder / ADAPTER_CONFIG), mend=mend)
    try:
        base = read_base(checkpoint_folder(named))
    except ModelError as error:
        raise ModelError(f"the adapter's base cannot be read: {error.what}", where=error.where, mend=mend) from error
    config = AutoConfig.from_pretrained(folder)
    recorded = _recorded_base(folder).get("fingerprint")
    if recorded is not None and recorded != base_fingerprint(base.state):
        raise ModelError(f"not the base that the adapter in {folder} was trained on", where=str(base.folder), mend=mend)
    stored = read_file(folder / ADAPTER_WEIGHTS)
    lora = {name: value for name, value in stored.items() if ".lora_" in name}
    whole = {name.removeprefix(_PEFT_PREFIX): value for name, value in stored.items() if ".lora_" not in name}
    state: State = with_rows(base.state, config.text_config.vocab_size) | whole
    kind: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    with torch.device("meta"):
        expected = kind(config).state_dict()
    check_fit(state, expected, where=str(base.folder), mend=f"the adapter in {folder} was trained on another base")
    model = kind.from_pretrained(None, config=config, state_dict=state, dtype=dtype or _stored(base.state))
    settings.modules_to_save = None
    return add_lora(model, settings, lora, where=str(folder / ADAPTER_WEIGHTS)).merge_and_unload()


def _stored(state: State) -> torch.dtype:
    return state["model.language_model.embed_tokens.weight"].dtype


def _recorded_base(folder: Path) -> dict[str, Any]:
    path = folder / RADIALOG_FILE
    training = read_json(path).get("training") if path.is_file() else None
    base = training.get("base") if isinstance(training, dict) else None
    return base if isinstance(base, dict) else {}
