"""The build: plan, then one shard of patients after the other or several at a time; the manifest is the truth."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from radialog_instruct.files import file_sha256, unwritable
from radialog_instruct.build.manifest import (
    MANIFEST_NAME,
    Manifest,
    Shard,
    fingerprint,
    read_manifest,
    remove_strays,
    shard_is_intact,
    write_manifest,
)
from radialog_instruct.build.plan import Plan, make_plan
from radialog_instruct.build.shards import ShardJob, build_tasks, write_shard
from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.prompts import CONSTANTS, PromptLibrary
from radialog_instruct.sources import Reader, open_source
from radialog_instruct.tasks import TASKS

Progress = Callable[[int, int], None]
"""Called with the number of finished shards and of all shards."""


def build_dataset(config: BuildConfig, places: BuildPlaces, progress: Progress = lambda done, total: None) -> Manifest:
    """Build a dataset, or what is missing of it.

    A shard whose files still have the recorded bytes is kept when the build's fingerprint is the same; everything else
    is built again. The bytes do not depend on the number of workers.

    Args:
        config: What is built.
        places: Where it is read and written.
        progress: Told about finished shards.

    Returns:
        The manifest, as written to ``manifest.json``.

    Raises:
        RadialogError: If the source, a template or the output folder cannot be used.
    """
    reader = open_source(config.source, places.root, **config.source_options)
    _check_output(places.out)
    plan = make_plan(reader, config)
    build_tasks(config, plan, places.templates)
    templates = template_hashes(config, places.templates)
    inputs = input_hashes(reader)
    shards = _kept_shards(places.out, config, templates, inputs, plan)
    remove_strays(places.out, shards)
    manifest = Manifest(
        fingerprint=fingerprint(config, templates, inputs, plan.images_digest()),
        config=config,
        terms=reader.terms.value,
        templates=templates,
        inputs=inputs,
        studies=plan.studies,
        rejected=plan.rejected,
        images_left_out=plan.images_left_out(),
        shards=shards,
    )
    write_manifest(places.out, manifest)
    missing = [number for number in range(config.shards) if str(number) not in manifest.shards]
    progress(config.shards - len(missing), config.shards)
    jobs = [ShardJob(number, config, plan, places.root, places.out, places.templates) for number in missing]
    for number, shard in _run(jobs, places.workers):
        shards = {**manifest.shards, str(number): shard}
        manifest = manifest.model_copy(update={"shards": dict(sorted(shards.items(), key=lambda item: int(item[0])))})
        write_manifest(places.out, manifest)
        progress(len(manifest.shards), config.shards)
    return manifest


def template_hashes(config: BuildConfig, folder: Path | None) -> dict[str, str]:
    """Return the hash of every template the configured tasks use."""
    prompts = PromptLibrary(folder)
    names = [CONSTANTS, *(f"instruct/{task.template}" for task in TASKS if task.name in config.tasks)]
    return {f"{name}.jinja": prompts.hash(name) for name in sorted(names)}


def input_hashes(reader: Reader) -> dict[str, str]:
    """Return the SHA-256 of every file a source is read from, by path relative to its root."""
    return {_relative(path, reader.root): file_sha256(path) for path in sorted(reader.inputs())}


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _check_output(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        occupied = any(out.iterdir()) and not (out / MANIFEST_NAME).is_file()
    except OSError as error:
        raise unwritable(out, error) from error
    if occupied:
        raise UsageError("the folder holds other files", where=str(out), mend="build into an empty or new folder")


def _kept_shards(
    out: Path, config: BuildConfig, templates: dict[str, str], inputs: dict[str, str], plan: Plan
) -> dict[str, Shard]:
    old = read_manifest(out)
    if old is None:
        return {}
    if old.fingerprint != fingerprint(config, templates, inputs, plan.images_digest()):
        return {}
    return {number: shard for number, shard in old.shards.items() if shard_is_intact(out, shard)}


def _run(jobs: list[ShardJob], workers: int) -> Iterator[tuple[int, Shard]]:
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job.number, write_shard(job)
        return
    # Spawned, not forked: Arrow's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_die_quietly) as pool:
        futures = {pool.submit(write_shard, job): job.number for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            mend = "run the same command again, with fewer workers if memory was short; finished shards are kept"
            raise DataError("a worker process died", mend=mend) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _die_quietly() -> None:
    # Ctrl+C reaches the whole process group; the parent alone reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
