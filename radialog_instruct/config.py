"""The configuration of a build: what its bytes depend on, and nothing else."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from radialog_instruct.errors import UsageError
from radialog_instruct.labeling.base import TextLabeler
from radialog_instruct.mixtures import Mixture, load_mixture
from radialog_instruct.replay.request import ReplayPolicy
from radialog_instruct.sources import Reader, open_source
from radialog_instruct.tasks import TASKS, Overlap

TASK_NAMES: tuple[str, ...] = tuple(task.name for task in TASKS)
DEFAULT_LABELERS = {"mimic-cxr": "chexpert"}
"""Labeler by source: MIMIC-CXR-JPG ships CheXpert's labels; the other sources are labelled by the rules."""
DEFAULT_SHARDS = {"mimic-cxr": 16}
"""Shards by source; others have four."""


class ImagePolicy(StrEnum):
    """What happens to rows whose image file is missing or unreadable."""

    REFERENCE = "reference"
    """They are built all the same; the row holds the image's relative path."""
    REQUIRE = "require"
    """They are left out and counted: what a training run needs."""


class ContextPolicy(StrEnum):
    """How much context the rows show."""

    FULL = "full"
    """Everything, as published: training draws a context anew in every epoch."""
    DRAWN = "drawn"
    """One draw of context dropping, written down: for trainers that cannot transform rows."""


class BuildConfig(BaseModel):
    """What the bytes of a built dataset depend on, beside the source's files and the templates.

    Where the files lie, where the result goes and how many processes work on it are no part of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    mixture: Mixture = Field(default_factory=lambda: load_mixture("paper"))
    seed: int = 0
    shards: int = Field(default=4, ge=1, le=99999)
    images: ImagePolicy = ImagePolicy.REFERENCE
    labeler: str = "rules"
    overlap: Overlap = Overlap.STRICT
    context: ContextPolicy = ContextPolicy.FULL
    judge: str = "rules"
    """The labeler that reads findings in drafts and in answers of an LLM."""
    run_drafts: bool = False
    """Whether corrections start from a model's drafts instead of injected errors."""
    replay: ReplayPolicy | None = None
    """Which requests an LLM was asked; None builds no task whose answers it writes."""
    source_options: dict[str, Any] = {}
    """Options of the source's reader, for example another split file."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the mixture, in the project's order."""
        return tuple(name for name in TASK_NAMES if name in self.mixture.tasks)


class SourcePlaces(BaseModel):
    """Where a source and its annotations lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path | None = None
    """Root of the source; None for the embedded demonstration collection."""
    reports: Path | None = None
    """MIMIC-CXR's reports, a zip file or a folder."""
    mimic_nle: Path | None = None
    rad_restruct: Path | None = None
    labels: tuple[Path, ...] = ()
    drafts: Path | None = None
    """Run folder of a benchmark on the train split, whose reports corrections start from."""

    def open(self, source: str, labeler: str | None = None, judge: TextLabeler | None = None, **options: Any) -> Reader:
        """Open a source.

        Args:
            source: Its name.
            labeler: The labeler that will be asked for.
            judge: Reads findings in drafts; needed where there are some.
            **options: Options of its reader.

        Raises:
            RadialogError: As ``open_source``.
        """
        if self.reports is not None:
            if source != "mimic-cxr":
                raise UsageError(f"it belongs to mimic-cxr, not to {source}", where="--reports", mend="leave it out")
            options["reports"] = self.reports
        if source == "mimic-cxr" and labeler is not None:
            options["labeler"] = labeler
        return open_source(
            source,
            self.root,
            mimic_nle=self.mimic_nle,
            rad_restruct=self.rad_restruct,
            labels=self.labels,
            drafts=self.drafts,
            judge=judge,
            **options,
        )


class BuildPlaces(BaseModel):
    """Where a build reads and writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: SourcePlaces = SourcePlaces()
    out: Path
    templates: Path | None = None
    """Folder of templates; None for the distribution's own."""
    workers: int = Field(default=1, ge=1)
    replay: Path | None = None
    """Folder with the answers of an LLM."""
    chexbert: Path | None = None
    """CheXbert's checkpoint, where it is the judge; None takes it from the Hub."""
    vocabulary: Path | None = None

    def open_judge(self, name: str) -> TextLabeler:
        """Open the labeler that reads findings in drafts and answers.

        Raises:
            RadialogError: As ``open_labeler``.
        """
        from radialog_instruct.labeling.files import open_labeler

        return open_labeler(name, self.chexbert, self.vocabulary)
