"""``radialog-model export``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radialog_model.commands.convert import Dtype
from radialog_model.commands.extras import need_torch


class Form(StrEnum):
    """Forms a checkpoint can be written in."""

    HF = "hf"
    VLLM = "vllm"
    TEXT = "text"


def export(
    output: Annotated[Path, typer.Option(help="The new folder.")],
    weights: Annotated[
        str | None, typer.Option(help="Folder or Hub repository; the demonstration weights by default.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="hf, vllm (names of its native CLIP and SigLIP LLaVA), text (no image).")
    ] = Form.HF,
    merge: Annotated[bool, typer.Option("--merge", help="Join an adapter with its base.")] = False,
    base: Annotated[
        str | None, typer.Option(help="The adapter's base: folder or Hub name; the one it names by default.")
    ] = None,
    auto_map: Annotated[
        bool, typer.Option("--auto-map", help="Add the modelling code, for users without this package.")
    ] = False,
    dtype: Annotated[Dtype | None, typer.Option(help="Type of the weights; as stored by default.")] = None,
    max_shard_size: Annotated[str, typer.Option(help="Largest weight file.")] = "5GB",
    licence: Annotated[
        str, typer.Option("--license", help="The card's licence: a Hub identifier, or other.")
    ] = "other",
    force: Annotated[bool, typer.Option("--force", help="Replace an older model folder.")] = False,
) -> None:
    """Write a checkpoint as a folder that can be published: weights, processor and model card."""
    need_torch("peft")
    from radialog_model.checkpoint import checkpoint_folder
    from radialog_model.export.folder import check_output
    from radialog_model.export.write import DTYPES, ExportOptions, check_shard_size
    from radialog_model.export.write import export as write

    check_output(output, force=force)
    check_shard_size(max_shard_size)
    options = ExportOptions(
        form=form.value,
        merge=merge,
        base=base,
        auto_map=auto_map,
        dtype=None if dtype is None else DTYPES[dtype.value],
        max_shard_size=max_shard_size,
        licence=licence,
        force=force,
    )
    write(checkpoint_folder(weights), output, options, _log)
    _log(f"written: {output}")


def _log(line: str) -> None:
    print(f"radialog-model: {line}", file=sys.stderr, flush=True)
