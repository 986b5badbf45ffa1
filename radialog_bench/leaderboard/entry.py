"""``leaderboard-entry.json``: what a leaderboard needs to know of a run, and nothing that may not be passed on.

It holds numbers, names and hashes; no text, label, image or id of a study, and no folder of the machine.
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from radialog_bench.privacy import shareable
from radialog_bench.report.folder import RunFolder, open_run
from radialog_bench.results import DataInfo, EvaluationResult, MetricResult, ModelInfo
from radialog_instruct.errors import DataError
from radialog_instruct.files import write_json

ENTRY = "leaderboard-entry.json"
SCHEMA_VERSION: Literal[1] = 1
Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EntryEvaluation(_Record):
    """The scores of one evaluation."""

    version: int
    headline: str
    """The metric that stands for the evaluation where there is room for one."""
    n: Count
    n_studies: Count
    n_scored: Count
    n_error: Count
    counts: dict[str, Count]
    """What was left out or could not be parsed, by reason."""
    metrics: dict[str, MetricResult]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name, metric in self.metrics.items():
            numbers = [metric.value, metric.ceiling, *(metric.ci95 or ())]
            if any(value is not None and not math.isfinite(value) for value in numbers):
                raise ValueError(f"{name}: not a finite number")
            if metric.value is None and not metric.unavailable:
                raise ValueError(f"{name}: neither a value nor the reason why there is none")
            if metric.ci95 and metric.ci95[0] > metric.ci95[1]:
                raise ValueError(f"{name}: the interval ends before it begins")
            if not metric.signature:
                raise ValueError(f"{name}: no signature")
        if self.n_scored > self.n:
            raise ValueError(f"{self.n_scored} samples scored of {self.n}")
        return self


class LeaderboardEntry(_Record):
    """One run, as it may be passed on."""

    schema_version: Literal[1]
    model: ModelInfo
    data: DataInfo
    settings: dict[str, Any]
    """The run's settings that change what is asked or how it is scored."""
    evaluations: dict[str, EntryEvaluation]
    limited_to_images: bool
    """Whether samples without a usable image were left out."""
    versions: dict[str, str]
    started: str
    """UTC, ISO 8601."""

    @field_validator("started")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value


def make_entry(run: RunFolder) -> LeaderboardEntry:
    """Make the entry of a finished run; a metric that came out undefined is kept as unavailable."""
    return LeaderboardEntry(
        schema_version=SCHEMA_VERSION,
        model=run.results.model.model_copy(update={"args": shareable(run.results.model.args)}),
        data=run.results.data,
        settings=_settings(run),
        limited_to_images=run.run.limited_to_images,
        evaluations={name: _evaluation(result) for name, result in run.results.evaluations.items()},
        versions=run.run.versions,
        started=run.run.started,
    )


def write_entry(folder: Path) -> Path:
    """Write a finished run's entry into its folder.

    Returns:
        The entry's path.

    Raises:
        DataError: If the folder holds no finished run.
        UsageError: If the folder cannot be written.
    """
    path = folder / ENTRY
    write_json(path, make_entry(open_run(folder)).model_dump(mode="json"))
    return path


def read_entry(path: Path) -> LeaderboardEntry:
    """Read an entry from its file, or make it from a run folder.

    Raises:
        DataError: If it is missing, or not a valid entry; the first fault is named.
    """
    if path.is_dir():
        return make_entry(open_run(path))
    mend = f"give a run folder, or the {ENTRY} of one"
    try:
        return LeaderboardEntry.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("no entry here", where=str(path), mend=mend) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"not a leaderboard entry ({place}: {first['msg']})", where=str(path), mend=mend) from error


def _settings(run: RunFolder) -> dict[str, Any]:
    settings = shareable(run.run.config)
    if settings.get("sample_ids") is not None:
        # Ids of a credentialed source may not be passed on; how many there were says enough.
        settings["sample_ids"] = f"{len(settings['sample_ids'])} chosen"
    return dict(settings)


def _evaluation(result: EvaluationResult) -> EntryEvaluation:
    return EntryEvaluation(
        version=result.version,
        headline=result.headline,
        n=result.n,
        n_studies=result.n_studies,
        n_scored=result.n_scored,
        n_error=result.n_error,
        counts=result.counts,
        metrics={name: _defined(metric) for name, metric in result.metrics.items()},
    )


def _defined(metric: MetricResult) -> MetricResult:
    changes: dict[str, Any] = {}
    if metric.value is None or not math.isfinite(metric.value):
        changes = {"value": None, "ci95": None, "unavailable": metric.unavailable or "undefined on these samples"}
    elif metric.ci95 and not all(map(math.isfinite, metric.ci95)):
        changes = {"ci95": None}
    if metric.unavailable:
        changes["unavailable"] = shareable(metric.unavailable)
    if metric.ceiling is not None and not math.isfinite(metric.ceiling):
        changes["ceiling"] = None
    return metric.model_copy(update=changes)
