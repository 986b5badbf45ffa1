"""Writes one shard of patients: every task and split of it in one pass over the source."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radialog_instruct.files import file_sha256, replacing
from radialog_instruct.build.manifest import DataFile, Shard
from radialog_instruct.build.plan import Plan
from radialog_instruct.build.schema import Row, arrow_schema, row_of
from radialog_instruct.config import BuildConfig
from radialog_instruct.ids import shard_of
from radialog_instruct.prompts import PromptLibrary
from radialog_instruct.records import Study
from radialog_instruct.sources import open_source
from radialog_instruct.tasks import TASKS, Skip, Task, TaskContext

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROW_GROUP = 2048
"""Rows a row group: a constant, because the bytes depend on it."""


@dataclass(frozen=True)
class ShardJob:
    """All that a worker process needs to write one shard."""

    number: int
    config: BuildConfig
    plan: Plan
    root: Path | None
    out: Path
    templates: Path | None


def build_tasks(config: BuildConfig, plan: Plan, templates: Path | None) -> tuple[Task, ...]:
    """Return the configured tasks, ready to make samples."""
    context = TaskContext(PromptLibrary(templates), config.seed, config.labeler, plan.balance)
    return tuple(task(context) for task in TASKS if task.name in config.tasks)


def write_shard(job: ShardJob) -> Shard:
    """Write the files of one shard; they appear under their names only when all of them are complete.

    Raises:
        RadialogError: If the source cannot be read, a template fails, or the output cannot be written.
    """
    config = job.config
    tasks = build_tasks(config, job.plan, job.templates)
    reader = open_source(config.source, job.root, **config.source_options)
    skipped: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
    with ExitStack() as stack:
        files = _ShardFiles(job, stack)
        for study in reader.studies(lambda subject: shard_of(subject, config.shards) == job.number):
            kept = job.plan.usable(study, config.images)
            if kept is not None:
                _write_study(kept, tasks, files, skipped, config.labeler)
        files.close()
    return Shard(
        files={
            name: DataFile(task=task, split=split, rows=rows, sha256=file_sha256(job.out / name))
            for name, (task, split, rows) in sorted(files.rows().items())
        },
        skipped={task: dict(sorted(reasons.items())) for task, reasons in skipped.items()},
    )


def _write_study(
    study: Study, tasks: tuple[Task, ...], files: _ShardFiles, skipped: dict[str, Counter[str]], labeler: str
) -> None:
    for task in tasks:
        for sample in task.samples(study):
            if isinstance(sample, Skip):
                skipped[task.name][sample.reason] += 1
            else:
                files.add(task.name, study.split.value, row_of(sample, labeler))


class _ShardFiles:
    """The open Parquet files of a shard, one for each task and split that has rows."""

    def __init__(self, job: ShardJob, stack: ExitStack) -> None:
        self._job, self._stack = job, stack
        self._schema = arrow_schema()
        self._files: dict[tuple[str, str], _ParquetFile] = {}

    def add(self, task: str, split: str, row: Row) -> None:
        file = self._files.get((task, split))
        if file is None:
            name = f"{task}/{split}-{self._job.number:05d}-of-{self._job.config.shards:05d}.parquet"
            temporary = self._stack.enter_context(replacing(self._job.out / name))
            file = self._files[task, split] = _ParquetFile(name, temporary, self._schema)
            self._stack.callback(file.abandon)
        file.add(row)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def rows(self) -> dict[str, tuple[str, str, int]]:
        return {file.name: (task, split, file.rows) for (task, split), file in self._files.items()}


class _ParquetFile:
    """One Parquet file that is filled row by row and written a row group at a time."""

    def __init__(self, name: str, temporary: Path, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self.name, self.rows = name, 0
        self._schema, self._buffer = schema, list[Row]()
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
            temporary, schema, compression="zstd", write_page_index=True
        )

    def add(self, row: Row) -> None:
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) == ROW_GROUP:
            self._flush()

    def close(self) -> None:
        if self._buffer:
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """Close the writer; its temporary file is dropped unless ``close`` was reached."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        assert self._writer is not None
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._buffer, schema=self._schema))
        self._buffer.clear()
