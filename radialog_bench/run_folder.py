"""The run folder: whose it is, who holds it, and the files written into it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.logged import Logged
from radialog_bench.config import RunConfig
from radialog_bench.data import RunData
from radialog_bench.environment import git_state, machine, versions
from radialog_bench.labelers import Labeler
from radialog_bench.privacy import without_secrets
from radialog_bench.results import ModelInfo, RunInfo, SampleRecord
from radialog_bench.scoring import ScoredPart
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.files import replacing, unwritable, write_json

RUN, RESULTS, REPORT = "run.json", "results.json", "report.html"


@dataclass(frozen=True)
class Job:
    """What a run folder is made from.

    Attributes:
        config: The settings.
        adapter: Who answers.
        model: The model the answers are of.
        data: The samples.
        labeler: The labeler of dialogs and scores.
        made_from: Names of the run folders the answers come from, when no model is asked.
        origin: What ``run.json`` of these folders says, likewise.
    """

    config: RunConfig
    adapter: Adapter
    model: ModelInfo
    data: RunData
    labeler: Labeler
    made_from: tuple[str, ...] = ()
    origin: RunInfo | None = None

    def adapter_for(self, evaluation: str) -> Adapter:
        """Return who answers in an evaluation."""
        return self.adapter.during(evaluation) if isinstance(self.adapter, Logged) else self.adapter


def default_folder(name: str, fingerprint: str) -> Path:
    """Return a new folder's path: ``runs/<model>/<utc>-<fingerprint>``."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return Path("runs") / safe / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{fingerprint[:8]}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process.

    Raises:
        UsageError: If it cannot be written, or another run holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise unwritable(folder, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError("another run is writing here", where=str(folder), mend="wait for it to end") from error
        yield


def check_writable(folder: Path) -> None:
    """Check that a folder that is not there yet could be made, without making it.

    Raises:
        UsageError: If not.
    """
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write in {above}", where=str(folder), mend="choose another --output-dir")


def check_folder(folder: Path, job: Job) -> RunInfo | None:
    """Check that an existing folder is new or belongs to this very run.

    Returns:
        Its ``run.json``, or None for an empty folder.

    Raises:
        DataError: If the folder's ``run.json`` cannot be read.
        UsageError: If the folder belongs to another run, or holds other files.
    """
    path = folder / RUN
    if path.is_file():
        try:
            earlier = RunInfo.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            mend = "choose another --output-dir"
            raise DataError("not a run of this version", where=str(path), mend=mend) from error
        differences = _differences(earlier, job.config, job.model, job.data)
        if differences:
            mend = "choose another --output-dir, or the settings of that run"
            raise UsageError(f"belongs to a run with another {' and '.join(differences)}", where=str(folder), mend=mend)
        return earlier
    if not folder.is_dir() or any(child.name != ".lock" for child in folder.iterdir()):
        raise UsageError("the folder holds other files", where=str(folder), mend="choose an empty or new folder")
    return None


def claim_folder(folder: Path, job: Job, command: Sequence[str]) -> RunInfo:
    """Write ``run.json``, or check that the folder belongs to this very run and bring it up to date.

    Returns:
        What it holds.

    Raises:
        RadialogError: As ``check_folder``.
    """
    earlier = check_folder(folder, job)
    if earlier is not None and job.origin is None:
        # This sitting scores the whole run, with what is installed now.
        now = {"labeler": job.labeler.signature, "versions": versions(), "git": git_state()}
        earlier = earlier.model_copy(update=now)
        write_json(folder / RUN, earlier.model_dump(mode="json"))
    if earlier is not None:
        return earlier
    info = RunInfo(
        command=without_secrets(tuple(command)),
        config=without_secrets(job.config.identity()),
        model=job.model,
        data=job.data.info,
        labeler=job.labeler.signature,
        versions=versions(),
        git=git_state(),
        machine=machine() if job.origin is None else job.origin.machine,
        paths=job.config.paths(),
        limited_to_images=job.config.limit_to_images or job.adapter.limits_to_images,
        made_from=job.made_from,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        finished=None if job.origin is None else job.origin.finished,
        speed={} if job.origin is None else job.origin.speed,
    )
    write_json(folder / RUN, info.model_dump(mode="json"))
    return info


def write_samples(path: Path, records: Sequence[SampleRecord]) -> None:
    """Write one record a line, atomically."""
    with replacing(path) as temporary:
        lines = "".join(record.model_dump_json() + "\n" for record in records)
        temporary.write_text(lines, encoding="utf-8")


def write_statistics(path: Path, scored: ScoredPart) -> None:
    """Write the sufficient statistics of every metric, atomically, for comparisons between runs.

    The file holds ``ids`` and ``clusters`` [n] and, by the name of each metric, its statistics [n, k].

    Args:
        path: The file.
        scored: The scored evaluation.
    """
    sheet = scored.sheet
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, ids=scored.ids, clusters=list(sheet.clusters), **sheet.statistics)  # type: ignore[arg-type]


def _differences(earlier: RunInfo, config: RunConfig, model: ModelInfo, data: RunData) -> list[str]:
    found = []
    if earlier.model.fingerprint != model.fingerprint:
        found.append("model")
    if earlier.data.manifest_sha256 != data.info.manifest_sha256:
        found.append("data")
    settings = config.identity()
    found += [
        name for name in settings if earlier.config.get(name) != settings[name] and name not in ("model", "model_args")
    ]
    return found
