"""Reads what a finished run left in its folder: its description, its scores, its statistics and its references."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from radialog_bench.metrics.base import Floats
from radialog_bench.results import SCHEMA_VERSION, RunInfo, RunResults
from radialog_instruct.errors import DataError

Kind = TypeVar("Kind", RunInfo, RunResults)
IDS, CLUSTERS = "ids", "clusters"
"""Names of the arrays in ``statistics/<evaluation>.npz`` that are no metric's."""


@dataclass(frozen=True)
class StoredRun:
    """A finished run.

    Attributes:
        folder: The run folder.
        info: Its ``run.json``.
        results: Its ``results.json``.
    """

    folder: Path
    info: RunInfo
    results: RunResults


@dataclass(frozen=True)
class StoredStatistics:
    """The sufficient statistics of an evaluation's scored samples.

    Attributes:
        ids: Ids of the n samples.
        clusters: Their patients.
        metrics: Metric name -> [n, k].
    """

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    metrics: Mapping[str, Floats]


def load_info(folder: Path) -> RunInfo:
    """Read ``run.json``.

    Raises:
        DataError: If there is none, or it is of another version.
    """
    return _read(folder / "run.json", RunInfo, "no run folder: run.json is missing")


def load_run(folder: Path) -> StoredRun:
    """Read a finished run.

    Raises:
        DataError: If the folder holds no run, an unfinished one, or one of another version.
    """
    info = load_info(folder)
    results = _read(folder / "results.json", RunResults, "the run is unfinished: results.json is missing")
    return StoredRun(folder, info, results)


def load_statistics(folder: Path, evaluation: str) -> StoredStatistics:
    """Read the statistics of an evaluation.

    Raises:
        DataError: If the file is missing or damaged.
    """
    path = folder / "statistics" / f"{evaluation}.npz"
    mend = f"score the run again: radialog-bench score {folder}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ids, clusters = (tuple(str(name) for name in arrays[key]) for key in (IDS, CLUSTERS))
            metrics = {name: arrays[name].astype(np.float64) for name in arrays.files if name not in (IDS, CLUSTERS)}
    except FileNotFoundError as error:
        raise DataError("no statistics here", where=str(path), mend=mend) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"not a statistics file ({error})", where=str(path), mend=mend) from error
    uneven = [name for name, array in metrics.items() if array.ndim != 2 or len(array) != len(ids)]
    if len(clusters) != len(ids) or len(set(ids)) != len(ids) or uneven:
        raise DataError("the statistics do not belong together", where=str(path), mend=mend)
    return StoredStatistics(ids, clusters, metrics)


def load_references(folder: Path, evaluation: str) -> dict[str, str]:
    """Return the reference of each sample by its id.

    Raises:
        DataError: If the samples are missing or damaged.
    """
    path = folder / "samples" / f"{evaluation}.jsonl"
    mend = f"score the run again: radialog-bench score {folder}"
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {record["id"]: record["reference"] for record in records}
    except OSError as error:
        raise DataError("no samples here", where=str(path), mend=mend) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a samples file ({error})", where=str(path), mend=mend) from error


def _read(path: Path, kind: type[Kind], missing: str) -> Kind:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        mend = "give the --output-dir of a run, and finish it by running its command again"
        raise DataError(missing, where=str(path.parent), mend=mend) from error
    mend = "run it again with this version, or read it with the one that made it"
    try:
        found = kind.model_validate_json(text)
    except ValidationError as error:
        raise DataError("not a run of this version", where=str(path), mend=mend) from error
    if found.schema_version != SCHEMA_VERSION:
        what = f"written in version {found.schema_version} of the format, this is version {SCHEMA_VERSION}"
        raise DataError(what, where=str(path), mend=mend)
    return found
