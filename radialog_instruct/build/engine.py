"""The build: a plan, then one shard of patients after the other or several at a time; the manifest is the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialog_instruct.build.crew import Crew
from radialog_instruct.build.inputs import input_hashes
from radialog_instruct.build.manifest import (
    MANIFEST_NAME,
    SPLITS_NAME,
    Manifest,
    Shard,
    fingerprint,
    read_manifest,
    remove_strays,
    shard_is_intact,
    write_manifest,
)
from radialog_instruct.build.plan import Plan, make_plan, write_splits
from radialog_instruct.build.scan import Scan, Tick, scan_shard
from radialog_instruct.build.shards import ShardJob, build_tasks, write_shard
from radialog_instruct.config import BuildConfig, BuildPlaces, ImagePolicy
from radialog_instruct.errors import UsageError
from radialog_instruct.files import file_sha256, unwritable
from radialog_instruct.prompts import CONSTANTS, PromptLibrary
from radialog_instruct.sources import Reader
from radialog_instruct.sources.base import KeepSubject
from radialog_instruct.replay.folder import Answers
from radialog_instruct.tasks import REPLAY_TASKS, TASKS, ReplayTask


NOT_ASKED = "tasks left out, because an LLM writes their answers (radialog-instruct replay, then build --replay)"


@dataclass(frozen=True)
class Progress:
    """Who is told how far a build is.

    Attributes:
        stage: Called with the name of a stage and the number of studies it will read, or None where that is unknown.
        studies: Called with the number of studies read since the last call.
    """

    stage: Callable[[str, int | None], None] = lambda name, total: None
    studies: Callable[[int], None] = lambda n: None


def build_dataset(config: BuildConfig, places: BuildPlaces, progress: Progress | None = None) -> Manifest:
    """Build a dataset, or what is missing of it.

    A shard whose files still have the recorded bytes is kept when the build's fingerprint is the same; everything else
    is built again. The bytes do not depend on the number of workers.

    Args:
        config: What is built.
        places: Where it is read and written.
        progress: Told about the build's progress.

    Returns:
        The manifest, as written to ``manifest.json``.

    Raises:
        RadialogError: If the source, a template or the output folder cannot be used.
    """
    told = progress if progress is not None else Progress()
    reader = open_reader(config, places)
    _check_output(places.out)
    with Crew(reader, config.shards, places.workers, told.studies) as crew:
        plan = _plan(crew, reader, config, places, told, replayed=config.replay is not None)
        manifest = _begin(reader, config, places, plan)
        missing = [number for number in range(config.shards) if str(number) not in manifest.shards]
        told.stage("write", round(sum(plan.studies.values()) * len(missing) / config.shards))
        jobs = [
            (n, ShardJob(n, config, plan.selection, plan.unusable_images[n], places))
            for n in missing
        ]
        for number, shard in crew.run(write_shard, jobs):
            shards = {**manifest.shards, str(number): shard}
            ordered = dict(sorted(shards.items(), key=lambda item: int(item[0])))
            manifest = manifest.model_copy(update={"shards": ordered})
            write_manifest(places.out, manifest)
    return manifest


def plan_dataset(config: BuildConfig, places: BuildPlaces, progress: Progress | None = None) -> Plan:
    """Count what a build would write, without writing anything.

    Raises:
        RadialogError: If the source or a template cannot be used.
    """
    told = progress if progress is not None else Progress()
    reader = open_reader(config, places)
    with Crew(reader, config.shards, places.workers, told.studies) as crew:
        return _plan(crew, reader, config, places, told, replayed=True)


def open_reader(config: BuildConfig, places: BuildPlaces) -> Reader:
    """Open the configured source.

    Raises:
        RadialogError: As ``open_source``.
    """
    options: dict[str, Any] = dict(config.source_options)
    if config.source == "mimic-cxr":
        options["locate_images"] = config.images is ImagePolicy.REQUIRE
    # Drafts are labelled once, here, and travel with the reader.
    judge = places.open_judge(config.judge) if places.source.drafts is not None else None
    return places.source.open(config.source, config.labeler, judge, **options)


def template_hashes(config: BuildConfig, folder: Path | None) -> dict[str, str]:
    """Return the hash of every template the configured tasks use."""
    prompts = PromptLibrary(folder)
    tasks = [task for task in TASKS if task.name in config.tasks]
    names = [CONSTANTS, *(f"instruct/{task.template}" for task in tasks)]
    if config.replay is not None:
        names += [f"replay/{task.template}" for task in tasks if issubclass(task, ReplayTask)]
        names += ["replay/judge"] if config.replay.judge else []
        names += ["replay/errors"] if "correction" in config.tasks and not config.run_drafts else []
    return {f"{name}.jinja": prompts.hash(name) for name in sorted(names)}


@dataclass(frozen=True)
class _ScanJob:
    config: BuildConfig
    places: BuildPlaces
    replayed: bool


def _scan(job: _ScanJob, reader: Reader, keep: KeepSubject, tick: Tick) -> Scan:
    return scan_shard(reader, keep, build_tasks(job.config, job.places, replayed=job.replayed), job.config.images, tick)


def _plan(
    crew: Crew, reader: Reader, config: BuildConfig, places: BuildPlaces, told: Progress, *, replayed: bool
) -> Plan:
    # Made here first, so that a broken template is reported before anything is read.
    tasks = build_tasks(config, places, replayed=replayed)
    told.stage("plan", _length(reader))
    job = _ScanJob(config, places, replayed)
    scans = dict(crew.run(_scan, [(number, job) for number in range(config.shards)]))
    return make_plan([scans[number] for number in range(config.shards)], tasks, reader, config)


def _length(reader: Reader) -> int | None:
    try:
        return len(reader)  # type: ignore[arg-type]
    except TypeError:
        return None


def _begin(reader: Reader, config: BuildConfig, places: BuildPlaces, plan: Plan) -> Manifest:
    """Write the manifest with the shards that are kept, and drop all files that no longer hold."""
    templates = template_hashes(config, places.templates)
    inputs = input_hashes(reader)
    answers = _answers_digest(places)
    identity = fingerprint(config, templates, inputs, f"{plan.images_digest()} {answers}")
    old = read_manifest(places.out)
    kept: dict[str, Shard] = {}
    if old is not None and old.fingerprint == identity:
        kept = {number: shard for number, shard in old.shards.items() if shard_is_intact(places.out, shard)}
    remove_strays(places.out, kept)
    write_splits(places.out / SPLITS_NAME, plan.splits)
    manifest = Manifest(
        fingerprint=identity,
        config=config,
        terms=reader.terms.value,
        templates=templates,
        inputs=inputs,
        studies=plan.studies,
        rejected=plan.rejected,
        notes=_with_unasked(plan.notes, config),
        images_left_out=plan.images_left_out(),
        skipped=plan.skipped,
        replay_answers=answers,
        planned=plan.rows,
        splits_sha256=file_sha256(places.out / SPLITS_NAME),
        shards=kept,
    )
    write_manifest(places.out, manifest)
    return manifest


def _answers_digest(places: BuildPlaces) -> str | None:
    if places.replay is None:
        return None
    with Answers(places.replay) as answers:
        return answers.digest()


def _with_unasked(notes: dict[str, int], config: BuildConfig) -> dict[str, int]:
    """Note the tasks that are not built because no LLM was asked; to plan them would cost more than all others."""
    unasked = [task for task in config.tasks if task in REPLAY_TASKS] if config.replay is None else []
    return {**notes, f"{NOT_ASKED}: {', '.join(unasked)}": len(unasked)} if unasked else notes


def _check_output(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in out.iterdir()}
    except OSError as error:
        raise unwritable(out, error) from error
    # A build that was killed at its very start left these and nothing else.
    begun = {SPLITS_NAME, f".{SPLITS_NAME}.tmp", f".{MANIFEST_NAME}.tmp"}
    if MANIFEST_NAME not in names and names - begun:
        raise UsageError("the folder holds other files", where=str(out), mend="build into an empty or new folder")
