"""Writes a model folder: weights, processor, description and card."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.errors import ModelError, UsageError
from radialog_model.biovil import BioViLTConfig
from radialog_model.checkpoint import RADIALOG_FILE
from radialog_model.convert.state import read_json
from radialog_model.export.auto_map import add_auto_map
from radialog_model.export.card import CardFacts, Kind, Loading, render_card
from radialog_model.export.engines import VLLM_TOWERS, check_vllm_tower, language_model, rename_tower_keys, write_index
from radialog_model.export.folder import copy_extractor, foreign_files, model_folder
from radialog_model.export.load import Source, is_adapter, read_source
from radialog_model.lora import ADAPTER_CONFIG, ADAPTER_WEIGHTS, save_adapter

Format = Literal["hf", "vllm", "text"]
Log = Callable[[str], None]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CARD = "README.md"


@dataclass(frozen=True)
class ExportOptions:
    """What an export makes of a checkpoint.

    Attributes:
        form: ``hf`` for transformers, ``vllm`` with the names of vLLM's own LLaVA, ``text`` for the language model.
        merge: Join an adapter with its base.
        base: Folder or Hub name of an adapter's base; the one it names by default.
        auto_map: Add the modelling code for users without this package.
        dtype: Type of the weights; as stored by default.
        max_shard_size: Largest weight file, for example ``5GB``.
        licence: The card's licence field.
        force: Replace an older model folder.
    """

    form: Format = "hf"
    merge: bool = False
    base: str | None = None
    auto_map: bool = False
    dtype: torch.dtype | None = None
    max_shard_size: str = "5GB"
    licence: str = "other"
    force: bool = False


def export(folder: Path, output: Path, options: ExportOptions, log: Log) -> None:
    """Write a checkpoint out.

    Args:
        folder: The checkpoint, whole or an adapter.
        output: The new folder.
        options: What to make of it.
        log: Told what was done.

    Raises:
        ModelError: If the checkpoint or its base cannot be used.
        UsageError: If the options do not fit the checkpoint, or the output cannot be written.
    """
    disable_progress_bar()
    if output.resolve() == folder.resolve():
        raise UsageError("--output is the checkpoint itself", where=str(output), mend="choose another folder")
    adapter = is_adapter(folder)
    if options.merge and not adapter:
        raise UsageError("a whole checkpoint has nothing to merge", where=str(folder), mend="leave out --merge")
    if adapter and not options.merge and (options.form != "hf" or options.auto_map or options.dtype):
        raise UsageError("an adapter can only be written as it is", where=str(folder), mend="add --merge")
    with model_folder(output, force=options.force) as temporary:
        if adapter and not options.merge:
            _copy_adapter(folder, temporary, output.name, options, log)
        else:
            source = read_source(folder, base=options.base, dtype=options.dtype)
            _write(source, temporary, output.name, options, log)


def check_shard_size(size: str) -> None:
    """Check a size such as ``5GB``.

    Raises:
        UsageError: If it is none.
    """
    if not re.fullmatch(r"\d+(\.\d+)?[KMGT]B", size) or float(size[:-2]) == 0:
        raise UsageError(f"{size!r} is no size", where="--max-shard-size", mend="write for example 5GB or 500MB")


def save_model(
    folder: Path, model: Any, processor: Any, described: dict[str, Any], *, max_shard_size: str = "5GB"
) -> None:
    """Write weights, processor and description into a folder.

    Args:
        folder: An existing folder.
        model: The model, or a PEFT model around it.
        processor: Its processor.
        described: Content of ``radialog.json``.
        max_shard_size: Largest weight file.
    """
    disable_progress_bar()
    if hasattr(model, "peft_config"):
        save_adapter(model, folder)
    else:
        # the names a model has in memory: engines that build it from other code look for these
        model.save_pretrained(folder, max_shard_size=max_shard_size, save_original_format=False)
    processor.save_pretrained(folder)
    (folder / RADIALOG_FILE).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_card(folder: Path, facts: CardFacts) -> None:
    """Write the card of a folder.

    Raises:
        UsageError: If its template cannot be rendered.
    """
    (folder / CARD).write_text(render_card(facts), encoding="utf-8")


def loading_of(config: Any, *, auto_map: bool) -> Loading:
    """Return what a model needs to be loaded."""
    if not isinstance(config.vision_config, BioViLTConfig):
        return "stock"
    return "remote" if auto_map else "package"


def _write(source: Source, folder: Path, title: str, options: ExportOptions, log: Log) -> None:
    config = source.model.config
    if options.form == "vllm":
        check_vllm_tower(config, source.folder)
    kind: Kind = "whole"
    if options.form == "text":
        kind = "text"
        language_model(source.model).save_pretrained(folder, max_shard_size=options.max_shard_size)
        source.processor.tokenizer.save_pretrained(folder)
        log("the language model alone: no image tower, no projector")
    else:
        save_model(folder, source.model, source.processor, source.described, max_shard_size=options.max_shard_size)
        source.carry(folder)
        write_index(folder)
    if options.form == "vllm":
        log(f"{rename_tower_keys(folder)} tensors of the tower named as vLLM looks for them")
    if options.auto_map:
        add_auto_map(folder)
        log("modelling code added: AutoModelForImageTextToText.from_pretrained(..., trust_remote_code=True)")
    facts = CardFacts(
        title=title,
        kind=kind,
        config=config,
        loading=loading_of(config, auto_map=options.auto_map),
        dtype=str(source.model.dtype).removeprefix("torch."),
        licence=options.licence,
        base=_base_name(source.described, options.base),
        native_vllm=config.vision_config.model_type in VLLM_TOWERS,
        described=source.described,
    )
    write_card(folder, facts)


def _copy_adapter(folder: Path, target: Path, title: str, options: ExportOptions, log: Log) -> None:
    from transformers import AutoConfig

    if not (folder / ADAPTER_WEIGHTS).is_file():
        mend = "of a publication, radialog-model convert makes a checkpoint first"
        raise ModelError(f"no {ADAPTER_WEIGHTS}: not an adapter of this project", where=str(folder), mend=mend)
    foreign = set(foreign_files(folder))
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in foreign and path.name != CARD:
            shutil.copyfile(path, target / path.name)
    copy_extractor(folder, target)
    if foreign:
        log(f"left out, for they are no model files: {', '.join(sorted(foreign))}")
    described = read_json(folder / RADIALOG_FILE) if (folder / RADIALOG_FILE).is_file() else {}
    named = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    config = AutoConfig.from_pretrained(folder)
    facts = CardFacts(
        title=title,
        kind="adapter",
        config=config,
        loading=loading_of(config, auto_map=False),
        dtype="as trained",
        licence=options.licence,
        base=_base_name(described, options.base or named),
        described=described,
    )
    write_card(target, facts)


def _base_name(described: dict[str, Any], given: str | None) -> str | None:
    base = described.get("training", {}).get("base")
    recorded = base.get("name") if isinstance(base, dict) else None
    name = recorded or given
    if name is not None and (Path(name).is_absolute() or Path(name).exists()):
        return Path(name).name  # a card is read elsewhere, where the folders of this machine mean nothing
    return name
