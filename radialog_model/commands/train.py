"""``radialog-model train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from radialog_model.commands.extras import need_torch


def train(
    data: Annotated[Path, typer.Option(help="Folder of a dataset built by radialog-instruct.")],
    output: Annotated[Path, typer.Option(help="Folder of the checkpoint; a rerun resumes.")],
    config: Annotated[str, typer.Option(help="A shipped configuration (demo, tiny) or a YAML file.")] = "demo",
    image_root: Annotated[
        Path | None, typer.Option(help="Folder the image paths are relative to; the embedded demo's by default.")
    ] = None,
) -> None:
    """Train from scratch: first the image tower on labels, then the language model on dialogs."""
    from radialog_model.config import load_config

    settings = load_config(config)
    need_torch()
    from radialog_model.training.run import train as run_training

    run_training(settings, data, output, image_root, lambda line: print(line, file=sys.stderr, flush=True))
