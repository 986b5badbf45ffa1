"""The folder of a first stage, and the towers one can begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from radialog_instruct.errors import ModelError
from radialog_model import register
from radialog_model.align.configuration import AlignStage1Config
from radialog_model.align.processing import tower_images
from radialog_model.align.stage1 import AlignStage1Model
from radialog_model.biovil import BioViLTConfig, BioViLTModel
from radialog_model.checkpoint import RADIALOG_FILE, load_checkpoint
from radialog_model.export.folder import into_place


def load_tower(folder: str) -> BioViLTModel:
    """Load a BioViL-T tower by itself, or out of a checkpoint of either variant.

    Raises:
        ModelError: If there is none, or it lacks tensors.
    """
    register()
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind == BioViLTConfig.model_type:
            loaded: Any = BioViLTModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
            tower, report = loaded
            return _whole(tower, report, folder)
        if kind == AlignStage1Config.model_type:
            return load_stage1(Path(folder))[0].vision_tower
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"no tower can be loaded ({first})", where=folder, mend="give a tower's folder") from error
    found = load_checkpoint(folder).model.model.vision_tower
    if not isinstance(found, BioViLTModel):
        raise ModelError("the checkpoint's tower is no BioViL-T", where=folder, mend="give a tower's folder")
    return found


def _whole(tower: BioViLTModel, report: dict[str, Any], folder: str) -> BioViLTModel:
    # lost statistics of a BatchNorm would be 0 and 1, and nothing would tell
    if lost := sorted(report["missing_keys"]):
        raise ModelError(f"{len(lost)} tensors of the tower are missing, first {lost[0]}", where=folder)
    return tower


def save_stage1(
    folder: Path, model: AlignStage1Model, tokenizer: PreTrainedTokenizerBase, described: dict[str, Any]
) -> None:
    """Write a first stage in 32 bits, with its tokenizer, image processor and description.

    Args:
        folder: Where to; an older model there makes way once this one is written.
        model: The model.
        tokenizer: The tokenizer of its text branch.
        described: Content of ``radialog.json``.

    Raises:
        UsageError: If the folder cannot be written.
    """
    text = json.dumps(described, indent=2, sort_keys=True) + "\n"
    with into_place(folder) as written:
        model.save_pretrained(written)
        tokenizer.save_pretrained(written)
        tower_images(model.vision_tower.config).save_pretrained(written)
        (written / RADIALOG_FILE).write_text(text, encoding="utf-8")


def load_stage1(folder: Path) -> tuple[AlignStage1Model, PreTrainedTokenizerBase]:
    """Load a first stage and its tokenizer.

    Args:
        folder: What ``radialog-model align`` wrote.

    Raises:
        ModelError: If it is none or cannot be read.
    """
    mend = "give the folder that radialog-model align wrote"
    if not (folder / "config.json").is_file():
        raise ModelError("no config.json here", where=str(folder), mend=mend)
    try:
        loaded: Any = AlignStage1Model.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"the first stage cannot be loaded ({first})", where=str(folder), mend=mend) from error
    model: AlignStage1Model = loaded[0]
    lost = sorted({*loaded[1]["missing_keys"], *loaded[1]["unexpected_keys"]})
    if lost:
        raise ModelError(f"the weights do not fit the configuration ({lost[0]})", where=str(folder), mend=mend)
    model.eval()  # type: ignore[no-untyped-call]
    return model, tokenizer
