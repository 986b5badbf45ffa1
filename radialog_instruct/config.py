"""The configuration of a build: what its bytes depend on, and nothing else."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from radialog_instruct.tasks import TASKS

TASK_NAMES: tuple[str, ...] = tuple(task.name for task in TASKS)


class ImagePolicy(StrEnum):
    """What happens to rows whose image file is missing or unreadable."""

    REFERENCE = "reference"
    """They are built all the same; the row holds the image's relative path."""
    REQUIRE = "require"
    """They are left out and counted: what a training run needs."""


class BuildConfig(BaseModel):
    """What the bytes of a built dataset depend on, beside the source's files and the templates.

    Where the files lie, where the result goes and how many processes work on it are no part of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    tasks: tuple[str, ...] = TASK_NAMES
    seed: int = 0
    shards: int = Field(default=4, ge=1, le=99999)
    images: ImagePolicy = ImagePolicy.REFERENCE
    labeler: str = "rules"
    yes_fraction: float = Field(default=0.5, gt=0, lt=1)
    """Share of "yes" among the binary questions of each class and split, as far as the data allow."""
    source_options: dict[str, Any] = {}
    """Options of the source's reader, for example another split file."""


class BuildPlaces(BaseModel):
    """Where a build reads and writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path | None
    """Root of the source; None for the embedded demonstration collection."""
    out: Path
    templates: Path | None = None
    """Folder of templates; None for the distribution's own."""
    workers: int = Field(default=1, ge=1)
