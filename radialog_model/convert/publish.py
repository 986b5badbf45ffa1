"""From a publication to a folder of this project: what each kind of conversion writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from radialog_model.checkpoint import checkpoint_folder
from radialog_model.convert.biovilt import PUBLISHED_FILE, read_biovilt
from radialog_model.convert.tokenizer import SENTENCEPIECE
from radialog_model.convert.v2 import Converted, convert_v2
from radialog_model.export.card import CardFacts
from radialog_model.export.folder import model_folder
from radialog_model.export.write import loading_of, save_model, write_card

Log = Callable[[str], None]

V2_NAME, V2_BASE = "RaDialog v2", "liuhaotian/llava-v1.5-7b"
V2_NOTICES = (
    "Converted weights of RaDialog v2, trained on MIMIC-CXR; names and form are changed, not what was learnt.",
    "Research software; not for clinical use.",
)


@dataclass(frozen=True)
class Places:
    """Where a conversion reads and writes.

    Attributes:
        source: The publication: a folder, or one file.
        output: The new folder.
        force: Whether an older model folder may be replaced.
    """

    source: Path
    output: Path
    force: bool = False


def publish_v2(
    places: Places, base: str, *, merge: bool, dtype: torch.dtype, biovilt: Path | None, max_shard_size: str, log: Log
) -> None:
    """Write RaDialog v2 as a checkpoint of this project.

    Args:
        places: Source and output.
        base: Folder or Hub name of LLaVA-1.5.
        merge: Whether to merge the LoRA; else the folder holds an adapter.
        dtype: Type of the weights.
        biovilt: The published BioViL-T file, which fills what the source lacks of the tower.
        max_shard_size: Largest weight file.
        log: Told about what was left behind or filled.

    Raises:
        ModelError: If a file is missing or does not fit.
        UsageError: If the output cannot be written.
    """
    disable_progress_bar()
    with model_folder(places.output, force=places.force) as folder:
        base_folder = checkpoint_folder(base)
        converted = convert_v2(places.source, base_folder, merge=merge, dtype=dtype, biovilt=biovilt, log=log)
        described = _describe_v2(converted)
        save_model(folder, converted.model, converted.processor, described, max_shard_size=max_shard_size)
        if (base_folder / SENTENCEPIECE).is_file():
            (folder / SENTENCEPIECE).write_bytes((base_folder / SENTENCEPIECE).read_bytes())
        config = converted.model.config
        facts = CardFacts(
            title=places.output.name,
            kind="whole" if merge else "adapter",
            config=config,
            loading=loading_of(config, auto_map=False),
            dtype=str(dtype).removeprefix("torch."),
            licence="other",
            base=described["training"]["base"]["name"],
            described=described,
        )
        write_card(folder, facts)


def publish_tower(places: Places, log: Log) -> None:
    """Write the published BioViL-T image weights as a tower that training takes.

    Args:
        places: Source and output.
        log: Told about what was left behind.

    Raises:
        ModelError: If the file cannot be read or is something else.
        UsageError: If the output cannot be written.
    """
    disable_progress_bar()
    with model_folder(places.output, force=places.force) as folder:
        source = places.source / PUBLISHED_FILE if places.source.is_dir() else places.source
        tower, note = read_biovilt(source)
        if note:
            log(note)
        log(tower.describe_unused())
        tower.model.save_pretrained(folder)


def _describe_v2(converted: Converted) -> dict[str, Any]:
    named = converted.base_name or V2_BASE
    return {
        "notices": list(V2_NOTICES),
        "training": {
            "converted_from": V2_NAME,
            "base": {"name": named, "fingerprint": converted.fingerprint},
            "datasets": ["RaDialog-Instruct", "MIMIC-CXR-JPG"],
            "terms": "credentialed",
        },
    }
