"""Rows of a built dataset, as training needs them; they stay in Arrow memory until one is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.config import ContextPolicy
from radialog_instruct.errors import DataError
from radialog_instruct.records import Turn

_COLUMNS = (
    "id",
    "task",
    "messages",
    "image_paths",
    "view",
    "findings_text",
    "finding_labels",
    "report_turn",
    "source",
    "terms",
)


@dataclass(frozen=True)
class Row:
    """What training needs of one row of a built dataset."""

    id: str
    task: str
    turns: tuple[Turn, ...]
    image: str
    view: str | None
    findings: str | None
    labels: tuple[int | None, ...] | None
    report_turn: int | None
    drawn: bool = False
    """Whether the row already shows one draw of context dropping."""


class Rows(Sequence[Row]):
    """Rows in the order of their tasks and files.

    An Arrow table holds half a million rows in about a gigabyte, which worker processes share; as Python objects they
    would take several times that in each.

    Args:
        table: The columns training needs.
        drawn: Whether the rows already show one draw of context dropping.
        findings: Image path -> findings text that replaces the row's own.
    """

    def __init__(self, table: pa.Table, *, drawn: bool, findings: Mapping[str, str] | None = None) -> None:
        self._table, self._drawn = table, drawn
        self._findings = None if findings is None else dict(findings)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        """Return one row, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        (record,) = self._table.slice(index % len(self), 1).to_pylist()
        row = _row(record, drawn=self._drawn)
        return row if self._findings is None else replace(row, findings=self._findings[row.image])

    def images(self) -> list[str]:
        """Return the path of every row's image."""
        paths: list[str] = pc.list_element(self._table["image_paths"], 0).to_pylist()
        return paths

    def tasks(self) -> list[str]:
        """Return the task of every row."""
        tasks: list[str] = self._table["task"].to_pylist()
        return tasks

    def ids_key(self) -> str:
        """Return a hash of the rows' ids in their order."""
        return sha256("\n".join(self._table["id"].to_pylist()).encode()).hexdigest()

    def origins(self) -> dict[str, str]:
        """Return the sources of the rows with their terms."""
        pairs = self._table.select(["source", "terms"]).group_by(["source", "terms"]).aggregate([]).to_pylist()
        return {pair["source"]: pair["terms"] for pair in sorted(pairs, key=lambda pair: str(pair["source"]))}

    def findings_key(self) -> str:
        """Return a hash of the findings texts that replace the rows' own; empty where none do."""
        if self._findings is None:
            return ""
        return sha256(json.dumps(self._findings, sort_keys=True).encode()).hexdigest()

    def with_findings(self, texts: Mapping[str, str], where: str) -> Rows:
        """Return the same rows with other findings texts.

        Args:
            texts: Image path -> findings text.
            where: Where they come from, for the error.

        Raises:
            DataError: If an image has none.
        """
        missing = sorted(set(self.images()) - set(texts))
        if missing:
            mend = "predict the findings of the same dataset and split"
            raise DataError(f"{len(missing)} images have no findings, first {missing[0]}", where=where, mend=mend)
        return Rows(self._table, drawn=self._drawn, findings=texts)


def read_rows(folder: Path, split: str, tasks: Sequence[str]) -> Rows:
    """Read the rows of a split that have an image, ordered by task and file.

    Args:
        folder: A dataset built by ``radialog-instruct build``.
        split: ``train``, ``validation`` or ``test``.
        tasks: Names of the tasks to read.

    Raises:
        DataError: If the folder holds no such dataset, or no row of the split has an image.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError("no built dataset here", where=str(folder), mend="run radialog-instruct build first")
    files = [file for task in tasks for file in sorted((folder / task).glob(f"{split}-*.parquet"))]
    tables = [_read(file) for file in files]
    table = pa.concat_tables(tables) if tables else None
    if table is None or not table.num_rows:
        raise DataError(f"no row of the split {split} with an image", where=str(folder), mend=f"build {tasks}")
    return Rows(table, drawn=manifest.config.context is ContextPolicy.DRAWN)


def _read(file: Path) -> pa.Table:
    try:
        table = pq.read_table(file, columns=list(_COLUMNS))
    except (OSError, pa.ArrowInvalid) as error:
        mend = "radialog-instruct check names damaged files; build again"
        raise DataError(f"the shard cannot be read ({error})", where=str(file), mend=mend) from error
    return table.filter(pc.greater(pc.list_value_length(table["image_paths"]), 0))


def _row(record: dict[str, Any], *, drawn: bool) -> Row:
    return Row(
        id=record["id"],
        task=record["task"],
        turns=tuple(Turn(message["role"], message["content"]) for message in record["messages"]),
        image=record["image_paths"][0],
        view=record["view"],
        findings=record["findings_text"],
        labels=tuple(record["finding_labels"]) if record["finding_labels"] is not None else None,
        report_turn=record["report_turn"],
        drawn=drawn,
    )
