"""The plan of a build: what could be made of all shards together, and how much of it is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radialog_instruct.build.scan import Scan
from radialog_instruct.config import BuildConfig
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.sources import Reader
from radialog_instruct.tasks import Task
from radialog_instruct.tasks.base import LEFT_OUT
from radialog_instruct.tasks.selection import Candidates, Pool, Selection

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Plan:
    """What will be built.

    Attributes:
        studies: Studies by split.
        rejected: What the reader rejected, by reason.
        notes: What a user should know of the source, by remark.
        rows: Rows by task and split, as they will be written.
        skipped: What cannot be made or is left out, by task and reason.
        selection: Which samples are kept.
        unusable_images: Of each shard, the images that the image policy leaves out -> reason.
        splits: Official splits of all studies, ordered by source and study.
    """

    studies: dict[str, int]
    rejected: dict[str, int]
    notes: dict[str, int]
    rows: dict[str, dict[str, int]]
    skipped: dict[str, dict[str, int]]
    selection: Selection
    unusable_images: tuple[dict[str, str], ...]
    splits: pa.Table

    def images_left_out(self) -> dict[str, int]:
        """Return the number of images left out, by reason."""
        return dict(sorted(Counter(r for part in self.unusable_images for r in part.values()).items()))

    def images_digest(self) -> str:
        """Return a hash of the images left out; it is part of the build's fingerprint."""
        return sha256(repr(sorted(name for part in self.unusable_images for name in part)).encode()).hexdigest()

    def total(self) -> int:
        """Return the number of rows."""
        return sum(n for by_split in self.rows.values() for n in by_split.values())


def make_plan(scans: Sequence[Scan], tasks: Sequence[Task], reader: Reader, config: BuildConfig) -> Plan:
    """Join the first passes over all shards into a plan.

    Args:
        scans: One scan a shard.
        tasks: The tasks.
        reader: The source.
        config: The configuration.

    Raises:
        DataError: If the source has no study, or an id twice.
        UsageError: If no study carries labels by the configured labeler.
    """
    studies = _summed(scan.studies for scan in scans)
    if not studies:
        raise DataError("the source has no study", where=str(reader.root), mend="check the root folder")
    labelers = _summed(scan.labelers for scan in scans)
    if config.labeler not in labelers:
        known = ", ".join(sorted(labelers)) or "none"
        raise UsageError(f"no study has labels by {config.labeler!r}", where="--labeler", mend=f"choose from: {known}")
    rejected, notes = reader.remarks()
    candidates = Candidates.merged(scan.candidates for scan in scans)
    limits, rows, left_out = _limits(candidates, tasks)
    skipped = {task.name: _summed(scan.skipped[task.name] for scan in scans) for task in tasks}
    for task, n in left_out.items():
        if n:
            skipped[task][LEFT_OUT.reason] += n
    return Plan(
        studies=dict(sorted(studies.items())),
        rejected=dict(sorted((_summed(scan.rejected for scan in scans) + rejected).items())),
        notes=dict(sorted((_summed(scan.notes for scan in scans) + notes).items())),
        rows=rows,
        skipped={task: dict(sorted(reasons.items())) for task, reasons in skipped.items()},
        selection=Selection(limits),
        unusable_images=tuple(scan.unusable_images for scan in scans),
        splits=_splits(scans),
    )


def _limits(
    candidates: Candidates, tasks: Sequence[Task]
) -> tuple[dict[Pool, int], dict[str, dict[str, int]], Counter[str]]:
    limits: dict[Pool, int] = {}
    rows: dict[str, dict[str, int]] = {}
    left_out: Counter[str] = Counter()
    splits = sorted({split for _, split, _ in candidates.counts})
    for task in tasks:
        for split in splits:
            counts = {s: n for (name, part, s), n in candidates.counts.items() if (name, part) == (task.name, split)}
            if not counts:
                continue
            kept = task.allocate(counts, candidates.units[task.name, split])
            n_kept = 0
            for stratum, n in counts.items():
                pool, keep = (task.name, split, stratum), kept[stratum]
                followers = candidates.followers.get(pool, np.empty(0, dtype=np.uint64))
                if task.is_thinned:
                    limits[pool] = candidates.limit(pool, keep)
                    n_followers = int((followers <= limits[pool]).sum()) if limits[pool] >= 0 else 0
                else:
                    n_followers = len(followers)
                n_kept += keep + n_followers
                left_out[task.name] += n - keep + len(followers) - n_followers
            if n_kept:
                rows.setdefault(task.name, {})[split] = n_kept
    return limits, rows, left_out


def _summed(parts: object) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:  # type: ignore[attr-defined]
        total.update(part)
    return total


def _splits(scans: Sequence[Scan]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.concat_tables([scan.splits for scan in scans])
    table = table.sort_by([(name, "ascending") for name in ("source", "study_id", "set_by")])
    if len(table) > 1:
        same = pc.and_(
            pc.equal(table["study_id"].combine_chunks()[1:], table["study_id"].combine_chunks()[:-1]),
            pc.equal(table["set_by"].combine_chunks()[1:], table["set_by"].combine_chunks()[:-1]),
        ).to_numpy(zero_copy_only=False)
        if same.any():
            at = int(np.flatnonzero(same)[0])
            where = f"{table['source'][at]} {table['study_id'][at]}"
            raise DataError("two studies have this id", where=where, mend="remove one of them")
    return table.combine_chunks()


def write_splits(path: Path, table: pa.Table) -> None:
    """Write the official splits of all studies, atomically.

    Raises:
        UsageError: If the folder cannot be written.
    """
    import pyarrow.parquet as pq

    from radialog_instruct.files import replacing

    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
