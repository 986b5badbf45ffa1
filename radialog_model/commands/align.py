"""``radialog-model align``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from radialog_model.commands.extras import need_torch


def align(
    data: Annotated[Path, typer.Option(help="Folder of a dataset built by radialog-instruct, with reports.")],
    output: Annotated[Path, typer.Option(help="Folder of the result; a rerun resumes.")],
    config: Annotated[str, typer.Option(help="A shipped configuration (align-stage1, tiny-align) or a YAML file.")],
    image_root: Annotated[
        Path | None, typer.Option(help="Folder the image paths are relative to; the embedded demo's by default.")
    ] = None,
    tower: Annotated[str | None, typer.Option(help="Folder or Hub name of a trained BioViL-T tower.")] = None,
    bert: Annotated[str | None, typer.Option(help="Folder or Hub name of a BERT to start from.")] = None,
) -> None:
    """Train the query transformer of the variant align on images and their reports."""
    from radialog_model.align.settings import load_align_settings

    settings = load_align_settings(config, tower=tower, bert=bert)
    need_torch()
    from radialog_model.align.train import train_stage1

    train_stage1(settings, data, output, image_root, lambda line: print(line, file=sys.stderr, flush=True))
