"""From a publication to a folder of this project: what each kind of conversion writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.errors import UsageError
from radialog_model.assemble import load_llm
from radialog_model.checkpoint import checkpoint_folder
from radialog_model.convert.biovilt import PUBLISHED_FILE, read_biovilt
from radialog_model.convert.state import read_either, read_file, read_json
from radialog_model.convert.tokenizer import SENTENCEPIECE, llava_tokenizer
from radialog_model.convert.v2 import ADAPTER, convert_v2
from radialog_model.export.card import CardFacts
from radialog_model.export.folder import model_folder
from radialog_model.export.write import loading_of, save_model, write_card

Log = Callable[[str], None]

V1_STAGE1 = "checkpoint_4.pth"
"""Name of the published first stage of v1."""


@dataclass(frozen=True)
class Job:
    """What the conversions of whole models share.

    Attributes:
        source: Folder of the publication.
        output: The new folder.
        base: Folder or Hub name of the base model.
        merge: Whether to merge the LoRA; else the folder holds an adapter.
        dtype: Type of the weights.
        biovilt: The published BioViL-T file.
        max_shard_size: Largest weight file.
        force: Whether an older model folder may be replaced.
    """

    source: Path
    output: Path
    base: str
    merge: bool = True
    dtype: torch.dtype = torch.bfloat16
    biovilt: Path | None = None
    max_shard_size: str = "5GB"
    force: bool = False


def publish_v2(job: Job, log: Log) -> None:
    """Write RaDialog v2 as a checkpoint of this project.

    Args:
        job: Places and options; ``biovilt`` fills what the source lacks of the tower.
        log: Told about what was left behind or filled.

    Raises:
        ModelError: If a file is missing or does not fit.
        UsageError: If the output cannot be written.
    """
    disable_progress_bar()
    with model_folder(job.output, force=job.force) as folder:
        base = checkpoint_folder(job.base)
        made = convert_v2(job.source, base, merge=job.merge, dtype=job.dtype, biovilt=job.biovilt, log=log)
        named = made.base_name or "liuhaotian/llava-v1.5-7b"
        described = _describe("RaDialog v2", {"name": named, "fingerprint": made.fingerprint})
        _write(folder, job, made.model, made.processor, described, base)


def publish_v1(job: Job, projector: Path | None, log: Log) -> None:
    """Write RaDialog v1 as a checkpoint of the variant ``align``.

    Args:
        job: Places and options; ``biovilt`` is the tower.
        projector: State dict of the original's ``visual_encoder.projector``, which no published file holds.
        log: Told about what was left behind.

    Raises:
        ModelError: If a file is missing or does not fit.
        UsageError: If the output cannot be written, or the tower is not given.
    """
    disable_progress_bar()
    if job.biovilt is None:
        raise UsageError(
            "the image encoder is missing", where="--from v1", mend=f"give {PUBLISHED_FILE} with --biovilt"
        )
    align: Any = import_module("radialog_model.convert.align_v1")
    settings = read_json(job.source / "adapter_config.json")
    with model_folder(job.output, force=job.force) as folder:
        base = checkpoint_folder(job.base)
        tower, note = read_biovilt(job.biovilt)
        if note:
            log(note)
        log(f"tower: {tower.describe_unused()}")
        tokenizer = llava_tokenizer(base)
        built = align.convert_align_v1(
            align.read_v1_stage1(job.source / V1_STAGE1),
            read_either(job.source, ADAPTER)[0],
            tower=tower.model,
            language_model=load_llm(str(base), dtype=job.dtype, quantization="none", vocabulary=len(tokenizer)),
            tokenizer=tokenizer,
            projector=None if projector is None else read_file(projector),
            lora_alpha=settings.get("lora_alpha", 16),
        )
        named = settings.get("base_model_name_or_path") or "lmsys/vicuna-7b-v1.3"
        _write(folder, job, built.model.to(job.dtype), built.processor, _describe("RaDialog v1", {"name": named}), base)


def publish_tower(source: Path, output: Path, log: Log, *, force: bool = False) -> None:
    """Write the published BioViL-T image weights as a tower that training takes.

    Args:
        source: The published file, or its folder.
        output: The new folder.
        log: Told about what was left behind.
        force: Whether an older model folder may be replaced.

    Raises:
        ModelError: If the file cannot be read or is something else.
        UsageError: If the output cannot be written.
    """
    disable_progress_bar()
    with model_folder(output, force=force) as folder:
        tower, note = read_biovilt(source / PUBLISHED_FILE if source.is_dir() else source)
        if note:
            log(note)
        log(tower.describe_unused())
        tower.model.save_pretrained(folder)


def _write(folder: Path, job: Job, model: Any, processor: Any, described: dict[str, Any], base: Path) -> None:
    save_model(folder, model, processor, described, max_shard_size=job.max_shard_size)
    if (base / SENTENCEPIECE).is_file():
        shutil.copyfile(base / SENTENCEPIECE, folder / SENTENCEPIECE)
    facts = CardFacts(
        title=job.output.name,
        kind="whole" if job.merge else "adapter",
        config=model.config,
        loading=loading_of(model.config, auto_map=False),
        dtype=str(job.dtype).removeprefix("torch."),
        licence="other",
        base=described["training"]["base"]["name"],
        described=described,
    )
    write_card(folder, facts)


def _describe(name: str, base: dict[str, str]) -> dict[str, Any]:
    return {
        "notices": [
            f"Converted weights of {name}, trained on MIMIC-CXR; names and form are changed, not what was learnt.",
            "Research software; not for clinical use.",
        ],
        "training": {
            "converted_from": name,
            "base": base,
            "datasets": ["RaDialog-Instruct", "MIMIC-CXR-JPG"],
            "terms": "credentialed",
        },
    }
