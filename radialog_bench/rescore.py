"""Scores answers that are already there: those of one run with other settings, or those of all shards of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path

from radialog_bench.adapters.logged import Logged
from radialog_bench.config import RunConfig
from radialog_bench.data import RunData, load_data, manifest_sha256
from radialog_bench.labelers import default_labeler, open_labeler
from radialog_bench.metric_kinds import stored_config
from radialog_bench.pairs import SOURCE as PAIRS
from radialog_bench.results import RunInfo, Speed
from radialog_bench.run import Finished, Progress, write_run
from radialog_bench.run_folder import Job
from radialog_bench.selection import Shard, parse_shard
from radialog_bench.speed import speed_of
from radialog_bench.stored import load_info, load_run
from radialog_instruct.errors import DataError, UsageError

Changed = Callable[[RunConfig], RunConfig]
"""Replaces settings of a stored run: how to score, and where files lie."""


def score_again(
    folder: Path,
    output: Path,
    changed: Changed,
    command: Sequence[str],
    *,
    announce: Callable[[str], object] = bool,
    progress: Progress | None = None,
) -> Finished:
    """Hold a run's dialogs again, with the answers of its log, and score them.

    Args:
        folder: The run folder; the run need not be finished.
        output: The folder for the new scores.
        changed: Replaces settings.
        command: The command line, for ``run.json``.
        announce: Told notices and the new folder.
        progress: Told about finished samples.

    Raises:
        DataError: If the folder holds no run of this version, or the data are not those of the run.
        UsageError: If a setting cannot be used.
    """
    info = load_info(folder)
    stored = _stored(info, folder)
    if stored.data == PAIRS:
        mend = "score the file again: radialog-bench score --pairs FILE"
        raise UsageError("made from a file of pairs, not by asking a model", where=str(folder), mend=mend)
    config = changed(stored)
    answers = Logged([folder], limits_to_images=info.limited_to_images)
    whole = load_data(config.model_copy(update={"evaluations": stored.evaluations}), answers)
    if whole.info.manifest_sha256 != info.data.manifest_sha256:
        raise _other_data(folder)
    data = whole if config.evaluations == stored.evaluations else load_data(config, answers)
    job = _job(config, answers, data, info, (folder,))
    return write_run(job, output, command, announce=announce, progress=progress)


def merge_shards(
    folders: Sequence[Path],
    output: Path,
    changed: Changed,
    command: Sequence[str],
    *,
    announce: Callable[[str], object] = bool,
    progress: Progress | None = None,
) -> Finished:
    """Put the shards of a run together and score the whole, as if it had been one run.

    Args:
        folders: The finished runs of all shards.
        output: The folder of the whole.
        changed: Replaces settings; only where files lie may change.
        command: The command line, for ``run.json``.
        announce: Told notices and the new folder.
        progress: Told about finished samples.

    Raises:
        DataError: If a folder is no finished shard, or the data are not those of the shards.
        UsageError: If the shards do not belong together or are not all there.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("a folder is given twice", where="merge", mend="give each shard once")
    runs = {folder: load_run(folder).info for folder in folders}
    shards = _shards(runs)
    first = runs[folders[0]]
    config = changed(_stored(first, folders[0]).model_copy(update={"shard": None}))
    answers = Logged(folders, limits_to_images=first.limited_to_images)
    data = load_data(config, answers)
    for folder, info in runs.items():
        if _shard_manifest(data, shards[folder]) != info.data.manifest_sha256:
            raise _other_data(folder)
    origin = first.model_copy(update={"speed": _added(list(runs.values()))})
    job = _job(config, answers, data, origin, folders)
    return write_run(job, output, command, announce=announce, progress=progress)


def _shards(runs: Mapping[Path, RunInfo]) -> dict[Path, Shard]:
    """Check that runs are the shards of one run.

    Raises:
        UsageError: If they are not, or one is missing.
    """
    shards: dict[Path, Shard] = {}
    (first_folder, first), *_ = runs.items()
    for folder, info in runs.items():
        text = info.config.get("shard")
        if text is None:
            mend = "give folders of runs made with --shard i/n"
            raise UsageError("not a shard, but a whole run", where=str(folder), mend=mend)
        shards[folder] = parse_shard(text)
        differing = _differences(first, info)
        if differing:
            what = f"has another {' and '.join(differing)} than {first_folder}"
            raise UsageError(what, where=str(folder), mend="merge the shards of one run")
    count = shards[first_folder].count
    places = [shard.index for shard in shards.values()]
    twice = sorted({place for place in places if places.count(place) > 1})
    if twice:
        raise UsageError(f"shard {twice[0]}/{count} is there twice", where="merge", mend="give each shard once")
    missing = [f"{place}/{count}" for place in range(1, count + 1) if place not in places]
    if missing:
        raise UsageError(f"shard {', '.join(missing)} is missing", where="merge", mend="run and give all shards")
    return shards


def _differences(first: RunInfo, other: RunInfo) -> list[str]:
    found = [] if first.model.fingerprint == other.model.fingerprint else ["model"]
    found += [
        name
        for name in ("source", "split", "terms", "notices")
        if getattr(first.data, name) != getattr(other.data, name)
    ]
    one, two = parse_shard(first.config["shard"]), parse_shard(other.config["shard"])
    found += [] if one.count == two.count else ["number of shards"]
    keys = sorted((first.config.keys() | other.config.keys()) - {"shard", "model", "model_args"})
    return found + [key.replace("_", "-") for key in keys if first.config.get(key) != other.config.get(key)]


def _shard_manifest(data: RunData, shard: Shard) -> str:
    return manifest_sha256(part.of(sample for sample in part.samples if shard.holds(sample)) for part in data.parts)


def _stored(info: RunInfo, folder: Path) -> RunConfig:
    return stored_config({**info.config, **info.paths}, str(folder / "run.json"))


def _other_data(folder: Path) -> DataError:
    return DataError(
        "the data are not those of the run", where=str(folder), mend="give its --root (and --reports, --image-root)"
    )


def _job(config: RunConfig, answers: Logged, data: RunData, origin: RunInfo, folders: Sequence[Path]) -> Job:
    labeler = open_labeler(config.labeler or default_labeler(data.info.source), config.chexbert, config.vocabulary)
    names = tuple(folder.resolve().name for folder in folders)
    return Job(config, answers, origin.model, data, labeler, made_from=names, origin=origin)


def _added(infos: Sequence[RunInfo]) -> dict[str, Speed]:
    """Return the speed of all shards together: requests and seconds add up."""
    names = {name for info in infos for name in info.speed}
    added: dict[str, Speed] = {}
    for name in sorted(names):
        speeds = [info.speed[name] for info in infos if name in info.speed]
        total = reduce(lambda known, more: speed_of(more.asked, more.seconds, more.usage, known) or known, speeds)
        added[name] = total
    return added
