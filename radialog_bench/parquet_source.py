"""A built dataset as a source of studies: what its rows say of a study is put together again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from radialog_instruct.findings import Labels
from radialog_instruct.records import Image, Sections, Split, Study, Terms, View

_COLUMNS = (
    "task",
    "messages",
    "image_paths",
    "image_ids",
    "source",
    "terms",
    "split",
    "subject_id",
    "study_id",
    "view",
    "finding_labels",
    "labeler",
    "indication",
    "context",
    "report_turn",
)
_OWN_REPORT = "correction"
"""The task whose report turn is a draft with errors, not the reference."""


@dataclass
class _Known:
    """What the rows of a study have said so far."""

    subject_id: str
    split: Split
    images: dict[str, tuple[str, View | None]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)


class ParquetReader:
    """Reads the studies of a dataset that ``radialog-instruct build`` wrote.

    The findings section is the answer of report generation rows or the report that other tasks have in their history;
    the impression is the answer of impression rows. Questions of structured reports are not put together again: rows
    are a choice of them, so that evaluation needs the authors' folder.

    Args:
        root: The dataset's folder.
        images: Folder that the rows' image paths are relative to; the demo's own images are found without it.

    Raises:
        DataError: If the folder holds no dataset, a column is missing, or rows come from several sources.
    """

    def __init__(self, root: Path, images: Path | None = None) -> None:
        self.root = root
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        if not root.is_dir():
            raise DataError("no such folder", where=str(root), mend="check --root")
        self._files = sorted(path for path in root.glob("*/*.parquet") if path.parent.name != "rejected")
        if not self._files:
            mend = "give the folder that radialog-instruct build wrote"
            raise DataError("no dataset here", where=str(root), mend=mend)
        first = next(self._rows(), None)
        if first is None:
            raise DataError("the dataset has no row", where=str(root), mend="build it again")
        self.name, self.terms = str(first["source"]), Terms(first["terms"])
        self._images = images or (demo_dir() if self.name == "demo" else None)

    def inputs(self) -> tuple[Path, ...]:
        """Return the shards."""
        return tuple(self._files)

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return two empty counters: a dataset holds what could be used."""
        return Counter(), Counter()

    def studies(self, keep: Callable[[str], bool] | None = None) -> Iterator[Study]:
        """Yield the studies by id.

        Raises:
            DataError: If a shard cannot be read, or rows of a study contradict each other.
        """
        self.notes = Counter()
        known: dict[str, _Known] = {}
        for row in self._rows():
            if keep is None or keep(row["subject_id"]):
                self._learn(known, row)
        for study_id in sorted(known):
            yield self._study(study_id, known[study_id])

    def _learn(self, known: dict[str, _Known], row: dict[str, Any]) -> None:
        study_id, split = str(row["study_id"]), Split(row["split"])
        if row["source"] != self.name:
            what = f"rows of {self.name} and of {row['source']}"
            raise DataError(what, where=str(self.root), mend="give one source's dataset")
        study = known.setdefault(study_id, _Known(row["subject_id"], split))
        if row["task"] == "rad_restruct_qa":
            self.notes["Rad-ReStruct row; its evaluation reads the authors' folder"] += 1
        elif study.split is not split:
            what = f"study {study_id} stands in {study.split} and {split}"
            raise DataError(what, where=str(self.root), mend="build the dataset with one split a study")
        for name, path in zip(row["image_ids"], row["image_paths"], strict=True):
            study.images[name] = path, View(row["view"]) if row["view"] else None
        if row["indication"]:
            study.texts["indication"] = row["indication"]
        if row["finding_labels"] is not None and row["labeler"]:
            study.labels[row["labeler"]] = tuple(row["finding_labels"])
        messages = row["messages"]
        if row["task"] in ("report_generation", "impression"):
            study.texts["findings" if row["task"] == "report_generation" else "impression"] = messages[-1]["content"]
        if row["report_turn"] is not None and row["task"] != _OWN_REPORT and row["context"] == "full":
            study.texts.setdefault("findings", messages[row["report_turn"]]["content"])

    def _study(self, study_id: str, known: _Known) -> Study:
        images = [self._image(name, path, view) for name, (path, view) in sorted(known.images.items())]
        images.sort(key=lambda image: not (image.view is not None and image.view.is_frontal))
        sections = Sections(**known.texts)
        return Study(
            *(self.name, study_id, known.subject_id, known.split, self.terms, tuple(images), sections, known.labels)
        )

    def _image(self, name: str, path: str, view: View | None) -> Image:
        file = self._images / path if self._images is not None else None
        return Image(name, path, view, file if file is not None and file.is_file() else None)

    def _rows(self) -> Iterator[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for path in self._files:
            try:
                with pq.ParquetFile(path) as file:
                    missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
                    if missing:
                        what = f"column {missing[0]!r} is missing"
                        raise DataError(what, where=str(path), mend="build the dataset with this version")
                    for batch in file.iter_batches(columns=list(_COLUMNS)):
                        yield from batch.to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise DataError(f"cannot read: {error}", where=str(path), mend="build the shard again") from error
