"""Writes one shard of patients: every task and split of it in one pass over the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radialog_instruct.build.columns import ColumnBuffer
from radialog_instruct.build.manifest import DataFile, Shard
from radialog_instruct.build.scan import TICK, Tick, usable
from radialog_instruct.build.schema import arrow_schema
from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.files import file_sha256, replacing
from radialog_instruct.prompts import PromptLibrary
from radialog_instruct.records import Sample, Study
from radialog_instruct.replay.folder import Answers
from radialog_instruct.replay.resolve import Accepted, Missing, Resolver
from radialog_instruct.sources import Reader
from radialog_instruct.sources.base import KeepSubject
from radialog_instruct.tasks import TASKS, ReplayTask, Skip, Task, TaskContext
from radialog_instruct.tasks.selection import Selection

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROW_GROUP = 2048
"""Rows a row group: a constant, because the bytes depend on it."""


@dataclass(frozen=True)
class ShardJob:
    """All that is needed to write one shard, beside the source."""

    number: int
    config: BuildConfig
    selection: Selection
    unusable_images: dict[str, str]
    places: BuildPlaces


def build_tasks(
    config: BuildConfig, places: BuildPlaces, selection: Selection | None = None, *, replayed: bool = True
) -> tuple[Task, ...]:
    """Return the configured tasks, ready to make samples.

    Args:
        config: The configuration.
        places: Where templates and the judge lie.
        selection: Which samples are kept.
        replayed: Whether the tasks whose answers an LLM writes are among them.
    """
    context = TaskContext(
        prompts=PromptLibrary(places.templates),
        seed=config.seed,
        labeler=config.labeler,
        mix=config.mixture.tasks,
        unit=config.mixture.unit,
        selection=selection if selection is not None else Selection(),
        overlap=config.overlap,
        judge=places.open_judge(config.judge),
        run_drafts=config.run_drafts,
    )
    kinds = (task for task in TASKS if task.name in config.tasks and (replayed or not issubclass(task, ReplayTask)))
    return tuple(task(context) for task in kinds)


def write_shard(job: ShardJob, reader: Reader, keep: KeepSubject, tick: Tick) -> Shard:
    """Write the files of one shard; they appear under their names only when all of them are complete.

    Raises:
        RadialogError: If the source cannot be read, a template fails, or the output cannot be written.
    """
    tasks = build_tasks(job.config, job.places, job.selection, replayed=job.config.replay is not None)
    out = job.places.out
    with ExitStack() as stack:
        files = _ShardFiles(job, stack)
        replayed = _Replayed(job, stack)
        for number, study in enumerate(reader.studies(keep), start=1):
            if number % TICK == 0:
                tick(TICK)
            kept = usable(study, job.unusable_images, job.config.images)
            if kept is None:
                continue
            for task in tasks:
                if isinstance(task, ReplayTask):
                    for finished in replayed.samples(task, kept):
                        files.add(finished)
                    continue
                for sample in task.samples(kept):
                    if not isinstance(sample, Skip):  # the plan has counted it
                        files.add(sample)
        files.close()
    return Shard(
        files={
            name: DataFile(task=task, split=split, rows=rows, sha256=file_sha256(out / name))
            for name, (task, split, rows) in sorted(files.rows().items())
        },
        replay={task: dict(sorted(reasons.items())) for task, reasons in sorted(replayed.left_out.items())},
    )


class _Replayed:
    """Finishes the samples whose answers an LLM has written, and counts those it has not."""

    def __init__(self, job: ShardJob, stack: ExitStack) -> None:
        self.left_out: dict[str, Counter[str]] = {}
        self._answers: Answers | None = None
        policy = job.config.replay
        if policy is not None and job.places.replay is not None:
            self._answers = stack.enter_context(Answers(job.places.replay))
            self._resolver = Resolver(policy, PromptLibrary(job.places.templates))

    def samples(self, task: ReplayTask, study: Study) -> Iterator[Sample]:
        assert self._answers is not None  # without answers there is no replay task
        for sample in task.samples(study):
            if isinstance(sample, Skip):
                continue
            outcome = self._resolver.resolve(task, sample, self._answers.get)
            if isinstance(outcome, Accepted):
                yield outcome.sample
                continue
            reason = "no answer yet" if isinstance(outcome, Missing) else f"rejected: {outcome.reasons[0]}"
            self.left_out.setdefault(task.name, Counter())[reason] += 1


class _ShardFiles:
    """The open Parquet files of a shard, one for each task and split that has rows."""

    def __init__(self, job: ShardJob, stack: ExitStack) -> None:
        self._job, self._stack = job, stack
        self._schema = arrow_schema()
        self._files: dict[tuple[str, str], ParquetFile] = {}

    def add(self, sample: Sample) -> None:
        task, split = sample.task, sample.split.value
        file = self._files.get((task, split))
        if file is None:
            config = self._job.config
            name = f"{task}/{split}-{self._job.number:05d}-of-{config.shards:05d}.parquet"
            temporary = self._stack.enter_context(replacing(self._job.places.out / name))
            buffer = ColumnBuffer(self._schema, config.labeler, config.context, config.seed)
            file = self._files[task, split] = ParquetFile(name, temporary, self._schema, buffer)
            self._stack.callback(file.abandon)
        file.add(sample)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def rows(self) -> dict[str, tuple[str, str, int]]:
        return {file.name: (task, split, file.rows) for (task, split), file in self._files.items()}


class ParquetFile:
    """One Parquet file that is filled sample by sample and written a row group at a time.

    Args:
        name: Its final name, relative to the dataset.
        path: Where it is written.
        schema: Its schema.
        buffer: Collects the rows of a row group.
    """

    def __init__(self, name: str, path: Path, schema: pa.Schema, buffer: ColumnBuffer) -> None:
        import pyarrow.parquet as pq

        self.name, self.rows = name, 0
        self._buffer = buffer
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
            path, schema, compression="zstd", write_page_index=True
        )

    def add(self, sample: Sample) -> None:
        """Append a sample."""
        self._buffer.add(sample)
        self.rows += 1
        if len(self._buffer) == ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left and finish the file."""
        if len(self._buffer):
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """Close the writer; its temporary file is dropped unless ``close`` was reached."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _flush(self) -> None:
        assert self._writer is not None
        self._writer.write_batch(self._buffer.flush())
