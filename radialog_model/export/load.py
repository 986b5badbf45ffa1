"""A checkpoint as it lies on disk, whole or as an adapter, read for writing it out again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from radialog_instruct.errors import ModelError, UsageError
from radialog_model import register
from radialog_model.checkpoint import RADIALOG_FILE, validate_tokens
from radialog_model.convert.state import read_json
from radialog_model.export.folder import copy_extractor
from radialog_model.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_adapter
from radialog_model.validation import few

CARRIED = ("findings_head.safetensors", "findings_head.json", "tokenizer.model")
"""Files that go along unchanged; a stand-alone extractor goes too."""


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
        """Copy what goes along unchanged."""
        for name in CARRIED:
            if (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, target / name)
        copy_extractor(self.folder, target)


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


def _merged(folder: Path, base: str | None, dtype: torch.dtype | None) -> Any:
    if not (folder / ADAPTER_WEIGHTS).is_file():
        mend = "of a publication, radialog-model convert makes a checkpoint first"
        raise ModelError(f"no {ADAPTER_WEIGHTS}: not an adapter of this project", where=str(folder), mend=mend)
    stored: Any = AutoConfig.from_pretrained(folder).dtype
    return load_adapter(folder, base_model=base, dtype=dtype or stored or torch.float16)
