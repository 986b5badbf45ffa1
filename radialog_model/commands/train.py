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
    config: Annotated[str, typer.Option(help="A shipped configuration (see 'configs') or a YAML file.")] = "demo",
    image_root: Annotated[
        Path | None, typer.Option(help="Folder the image paths are relative to; the embedded demo's by default.")
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="Folder or Hub name of the language model.")] = None,
    tower: Annotated[str | None, typer.Option(help="Folder or Hub name of the image tower.")] = None,
    stage1: Annotated[str | None, typer.Option(help="What radialog-model align wrote, for the variant align.")] = None,
    extractor: Annotated[
        str | None, typer.Option(help="What radialog-model findings train wrote; it becomes part of the checkpoint.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks with commas between; all of them by default.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value, as dialog.epochs=2.")
    ] = None,
) -> None:
    """Train on dialogs: adapters on a language model, or a small model from scratch."""
    from radialog_model.config import load_config

    listed = None if tasks is None else f"[{tasks}]"
    given = {"base_model": base_model, "tower_weights": tower, "stage1": stage1, "extractor": extractor}
    given["tasks"] = listed
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    settings = load_config(config, [*named, *(override or ())])
    need_torch()
    from radialog_model.training.run import train as run_training

    run_training(settings, data, output, image_root, lambda line: print(line, file=sys.stderr, flush=True))


def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one instead.")] = None,
) -> None:
    """List the shipped configurations, for training and for accelerate launch, or print one to start your own from."""
    from radialog_instruct.errors import UsageError
    from radialog_model.config import CONFIGS

    known = {path.stem: path for folder in (CONFIGS, CONFIGS / "accelerate") for path in sorted(folder.glob("*.yaml"))}
    if name is None:
        for config, path in known.items():
            first = path.read_text(encoding="utf-8").splitlines()[0]
            print(f"{config:27} {first.removeprefix('# ')}")
        return
    if name not in known:
        raise UsageError(f"no configuration {name!r}", mend=f"choose from: {', '.join(known)}")
    print(known[name].read_text(encoding="utf-8"), end="")
