"""The manifest of a built dataset: what was built from what, file by file, so that a rerun keeps what still holds."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from radialog_instruct.files import file_sha256, unwritable, write_json
from radialog_instruct.config import TASK_NAMES, BuildConfig
from radialog_instruct.errors import DataError

MANIFEST_NAME = "manifest.json"
SPLITS_NAME = "splits.parquet"
"""The official splits of every study, for the checks."""
BUILD_VERSION = 3
"""Raised whenever the same inputs and configuration would give other bytes than before."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataFile(_Record):
    """One Parquet file."""

    task: str
    split: str
    rows: int
    sha256: str


class Shard(_Record):
    """All files of one shard of patients, and what was left out of them."""

    files: dict[str, DataFile]
    """By path relative to the dataset's folder."""
    replay: dict[str, dict[str, int]] = {}
    """Task -> reason -> samples that an LLM has not answered well enough."""


class Manifest(_Record):
    """``manifest.json``. It holds no time and no path of this machine, so equal builds have equal manifests."""

    build_version: int = BUILD_VERSION
    fingerprint: str
    config: BuildConfig
    terms: str
    templates: dict[str, str]
    """Template file -> blake2b-128."""
    inputs: dict[str, str]
    """Input file relative to the source's root -> SHA-256."""
    studies: dict[str, int]
    """Studies by split."""
    rejected: dict[str, int]
    """Studies or files the reader rejected, by reason."""
    notes: dict[str, int]
    """What a user should know of the source, by remark."""
    images_left_out: dict[str, int]
    """Images left out by the image policy, by reason."""
    skipped: dict[str, dict[str, int]]
    """Task -> reason -> number of samples that could not be made or were left out."""
    replay_answers: str | None = None
    """Digest of the answers of an LLM, or None where none were given."""
    planned: dict[str, dict[str, int]]
    """Rows by task and split, as planned before the first was written; those an LLM writes may become fewer."""
    splits_sha256: str
    shards: dict[str, Shard]

    def rows(self) -> dict[str, dict[str, int]]:
        """Return the number of rows by task and split."""
        counts: dict[str, Counter[str]] = {}
        for shard in self.shards.values():
            for file in shard.files.values():
                counts.setdefault(file.task, Counter())[file.split] += file.rows
        return {task: dict(sorted(by_split.items())) for task, by_split in sorted(counts.items())}

    def left_out(self) -> dict[str, dict[str, int]]:
        """Return what could not be made, by task and reason, with the samples an LLM has not answered."""
        counts = {task: Counter(reasons) for task, reasons in self.skipped.items()}
        for shard in self.shards.values():
            for task, reasons in shard.replay.items():
                counts.setdefault(task, Counter()).update(reasons)
        return {task: dict(sorted(reasons.items())) for task, reasons in counts.items()}


def fingerprint(config: BuildConfig, templates: dict[str, str], inputs: dict[str, str], images: str) -> str:
    """Return the identity of a build: equal fingerprints mean equal bytes.

    Identity is the configuration, the templates, the source's files, which images were usable, the answers of an
    LLM, and the build's code by ``BUILD_VERSION``. Not identity: where files lie, the number of workers, the order of a folder's listing.

    Args:
        config: The configuration.
        templates: Template file -> hash.
        inputs: Input file -> hash.
        images: Digest of the images left out by the image policy.
    """
    identity = BuildConfig.model_dump_json(config), sorted(templates.items()), sorted(inputs.items()), images
    return sha256(f"{BUILD_VERSION}|{identity!r}".encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Read a dataset's manifest, or return None where there is none.

    Raises:
        DataError: If it is damaged or was written by another version of the format.
    """
    path = folder / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror}", where=str(path), mend="check its permissions") from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise DataError(
            f"not a manifest of this version: {where}: {first['msg']}",
            where=str(path),
            mend="build into an empty folder",
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest atomically.

    Raises:
        UsageError: If the folder cannot be written.
    """
    write_json(folder / MANIFEST_NAME, manifest.model_dump(mode="json"))


def shard_is_intact(folder: Path, shard: Shard) -> bool:
    """Tell whether all files of a shard exist with the recorded bytes."""
    return all((folder / name).is_file() and file_sha256(folder / name) == f.sha256 for name, f in shard.files.items())


def remove_strays(folder: Path, shards: dict[str, Shard]) -> None:
    """Remove Parquet and temporary files that no kept shard lists: leftovers of another build or of a killed one.

    Args:
        folder: A dataset's folder; only folders named after a task are looked into.
        shards: The shards that are kept.

    Raises:
        UsageError: If a file cannot be removed.
    """
    listed = {folder / name for shard in shards.values() for name in shard.files}
    for task in TASK_NAMES:
        strays = {*(folder / task).glob("*.parquet"), *(folder / task).glob(".*.tmp")} - listed
        try:
            for path in strays:
                path.unlink()
            if strays and not any((folder / task).iterdir()):
                (folder / task).rmdir()
        except OSError as error:
            raise unwritable(folder / task, error) from error
