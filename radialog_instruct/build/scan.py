"""The first pass over one shard of patients: what could be made of it, before the first row is written."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from radialog_instruct.config import ImagePolicy
from radialog_instruct.errors import DataError
from radialog_instruct.records import Study
from radialog_instruct.sources import Reader
from radialog_instruct.sources.base import KeepSubject
from radialog_instruct.sources.images import check_image
from radialog_instruct.tasks import Skip, Task
from radialog_instruct.tasks.selection import Candidates, Pool

if TYPE_CHECKING:
    import pyarrow as pa

Tick = Callable[[int], None]
"""Told about the studies that were read since it was last called."""
TICK = 256


@dataclass(frozen=True)
class Scan:
    """What the first pass found in one shard.

    Attributes:
        studies: Studies by split.
        labelers: Studies by labeler.
        rejected: What the reader rejected, by reason.
        notes: What a user should know of the source, by remark.
        skipped: What cannot be made, by task and reason.
        unusable_images: Images that the image policy leaves out -> reason.
        candidates: What could be made.
        splits: Official splits of the shard's studies; see ``splits_schema``.
    """

    studies: Counter[str]
    labelers: Counter[str]
    rejected: Counter[str]
    notes: Counter[str]
    skipped: dict[str, Counter[str]]
    unusable_images: dict[str, str]
    candidates: Candidates
    splits: pa.Table


def splits_schema() -> pa.Schema:
    """Return the columns of ``splits.parquet``: one row for each official split a study stands in."""
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in ("source", "subject_id", "study_id", "set_by", "split")])


def scan_shard(reader: Reader, keep: KeepSubject, tasks: tuple[Task, ...], images: ImagePolicy, tick: Tick) -> Scan:
    """Read the studies of one shard and count what could be made of them.

    Args:
        reader: The source.
        keep: Tells which patients belong to the shard.
        tasks: The tasks.
        images: The image policy.
        tick: Told about progress.

    Raises:
        DataError: If a patient stands in two splits.
    """
    scan = _Scanner(tasks)
    unusable: dict[str, str] = {}
    for number, study in enumerate(reader.studies(keep), start=1):
        if number % TICK == 0:
            tick(TICK)
        if images is ImagePolicy.REQUIRE:
            for image in study.images:
                reason = "image file missing" if image.file is None else check_image(image.file)
                if reason is not None:
                    unusable[image.image_id] = reason
        scan.add(study, usable(study, unusable, images))
    return scan.result(reader, unusable)


def usable(study: Study, unusable_images: dict[str, str], policy: ImagePolicy) -> Study | None:
    """Return the study with the images its rows may name, or None when the policy leaves nothing of it."""
    if policy is ImagePolicy.REFERENCE:
        return study
    images = tuple(image for image in study.images if image.image_id not in unusable_images)
    return replace(study, images=images) if images else None


class _Scanner:
    def __init__(self, tasks: tuple[Task, ...]) -> None:
        self._tasks = tasks
        self._studies: Counter[str] = Counter()
        self._labelers: Counter[str] = Counter()
        self._units: Counter[tuple[str, str]] = Counter()
        self._ranks: defaultdict[Pool, array[int]] = defaultdict(lambda: array("Q"))
        self._followers: defaultdict[Pool, array[int]] = defaultdict(lambda: array("Q"))
        self._skipped: dict[str, Counter[str]] = {task.name: Counter() for task in tasks}
        self._patients: dict[str, str] = {}
        self._splits: dict[str, list[str]] = {name: [] for name in splits_schema().names}

    def add(self, study: Study, kept: Study | None) -> None:
        self._studies[study.split.value] += 1
        self._labelers.update(study.labels.keys())
        self._note_splits(study)
        if kept is not None:
            for task in self._tasks:
                self._count(task, kept)

    def _count(self, task: Task, study: Study) -> None:
        name, split, skipped = task.name, task.split_of(study), self._skipped[task.name]
        ranks = self._ranks
        units: set[str | None] = set()
        for slot in task.slots(study):
            if isinstance(slot, Skip):
                skipped[slot.reason] += 1
            elif isinstance(split, Skip):
                skipped[split.reason] += 1
            else:
                pool = name, split, slot.stratum
                (self._followers if slot.follows else ranks)[pool].append(slot.rank)
                units.add(slot.image.image_id if slot.image is not None else None)
        if units and not isinstance(split, Skip):
            self._units[name, split] += len(units)

    def _note_splits(self, study: Study) -> None:
        earlier = self._patients.setdefault(study.subject_id, study.split.value)
        if earlier != study.split.value:
            raise DataError(
                f"a patient stands in the splits {earlier} and {study.split.value}",
                where=f"{study.source} {study.subject_id}",
                mend="give all studies of a patient one split",
            )
        for set_by, split in sorted(study.official.items() or {"hash": study.split}.items()):
            values = study.source, study.subject_id, study.study_id, set_by, split.value
            for column, value in zip(self._splits.values(), values, strict=True):
                column.append(value)

    def result(self, reader: Reader, unusable: dict[str, str]) -> Scan:
        import pyarrow as pa

        def packed(ranks: Mapping[Pool, array[int]]) -> dict[Pool, np.ndarray[tuple[int], np.dtype[np.uint64]]]:
            return {pool: np.frombuffer(values, dtype=np.uint64) for pool, values in ranks.items()}

        counts = Counter({pool: len(values) for pool, values in self._ranks.items()})
        return Scan(
            studies=self._studies,
            labelers=self._labelers,
            rejected=Counter(reader.rejected),
            notes=Counter(reader.notes),
            skipped=self._skipped,
            unusable_images=unusable,
            candidates=Candidates(counts, self._units, packed(self._ranks), packed(self._followers)),
            splits=pa.table(self._splits, schema=splits_schema()),
        )
