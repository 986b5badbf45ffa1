"""``radialog-model convert``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radialog_instruct.errors import UsageError
from radialog_model.commands.extras import need_torch


class Publication(StrEnum):
    """What can be converted."""

    V1 = "v1"
    V2 = "v2"
    BIOVILT = "biovilt"


class Dtype(StrEnum):
    """Types weights can be written in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


def convert(
    published: Annotated[
        Publication, typer.Option("--from", help="v2 (project), v1 (align) or biovilt (the image encoder).")
    ],
    source: Annotated[Path, typer.Option(help="Folder of the published files; for biovilt the file itself.")],
    output: Annotated[Path, typer.Option(help="The new folder.")],
    base: Annotated[
        str | None, typer.Option(help="Base model: folder or Hub name (v2: LLaVA-1.5 7B, v1: Vicuna 7B).")
    ] = None,
    merge: Annotated[bool, typer.Option(help="Merge the LoRA, or write a PEFT adapter.")] = True,
    dtype: Annotated[Dtype, typer.Option(help="Type of the weights; the publication computes in bfloat16.")] = (
        Dtype.BFLOAT16
    ),
    biovilt: Annotated[
        Path | None, typer.Option(help="Published BioViL-T file: v1's tower; fills what v2's files lack of theirs.")
    ] = None,
    projector: Annotated[
        Path | None, typer.Option(help="v1: state dict of the original's random visual_encoder.projector.")
    ] = None,
    max_shard_size: Annotated[str, typer.Option(help="Largest weight file.")] = "5GB",
    force: Annotated[bool, typer.Option("--force", help="Replace an older model folder.")] = False,
) -> None:
    """Turn published weights into a checkpoint of this project, or into a tower for training."""
    _check(published, source, base, biovilt)
    if published == Publication.V1 and not merge:
        raise UsageError("v1 is only converted whole", where="--no-merge", mend="leave it out")
    if published != Publication.V1 and projector is not None:
        raise UsageError("only v1 has such a projector", where="--projector", mend="leave it out")
    need_torch("peft")
    from radialog_model.convert.publish import Job, publish_tower, publish_v1, publish_v2
    from radialog_model.export.folder import check_output
    from radialog_model.export.write import DTYPES, check_shard_size

    check_output(output, force=force)
    check_shard_size(max_shard_size)
    if base is None:
        publish_tower(source, output, _log, force=force)
    else:
        job = Job(source, output, base, merge, DTYPES[dtype.value], biovilt, max_shard_size, force)
        if published == Publication.V1:
            publish_v1(job, projector, _log)
        else:
            publish_v2(job, _log)
    _log(f"written: {output}")


def _check(published: Publication, source: Path, base: str | None, biovilt: Path | None) -> None:
    if not source.exists():
        raise UsageError("no such file or folder", where=str(source), mend="check --source")
    if published == Publication.BIOVILT and (base is not None or biovilt is not None):
        raise UsageError("the image encoder has no base", where="--from biovilt", mend="leave out --base and --biovilt")
    if published != Publication.BIOVILT and base is None:
        raise UsageError("the base model is missing", where=f"--from {published}", mend="give it with --base")
    if published != Publication.BIOVILT and not source.is_dir():
        raise UsageError("not a folder", where=str(source), mend="give the folder of the published files")


def _log(line: str) -> None:
    print(f"radialog-model: {line}", file=sys.stderr, flush=True)
