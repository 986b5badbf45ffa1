"""The command ``synth-mimic``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal, cast

from radialog_instruct.errors import UsageError
from radialog_instruct.synth.mimic import JPG_FOLDER, NLE_FOLDER, REPORTS_FOLDER, Images, write_mimic_tree


def synthesise(out: Path, studies: int, images: str, reports: str) -> None:
    """Write a synthetic tree and print the command that builds a dataset of it.

    Raises:
        UsageError: If an option is wrong or the folder cannot be used.
    """
    from rich.console import Console
    from rich.progress import Progress

    if images not in tuple(Images):
        raise UsageError(f"no kind of images {images!r}", where="--images", mend="choose tiny or none")
    if reports not in ("zip", "tree"):
        raise UsageError(f"no layout of reports {reports!r}", where="--reports", mend="choose zip or tree")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bars:
        bar = bars.add_task("studies", total=studies)
        write_mimic_tree(
            out,
            studies,
            images=Images(images),
            reports=cast("Literal['zip', 'tree']", reports),
            progress=lambda done, _total: bars.update(bar, completed=done),
        )
    print(f"{studies:,} invented studies in {out}. Build a dataset of them with:")
    places = [f"--root {_quoted(out / JPG_FOLDER)}", f"--reports {_quoted(out / REPORTS_FOLDER)}"]
    places.append(f"--mimic-nle {_quoted(out / NLE_FOLDER)}")
    print(f"radialog-instruct build --source mimic-cxr {' '.join(places)} --out DATASET")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
