"""Reads a built dataset row by row, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radialog_instruct.errors import DataError

_COLUMNS = (
    *("id", "task", "messages", "source", "split", "subject_id", "study_id", "report_turn", "context"),
    *("finding_labels", "template_id", "target_source", "generator", "quality", "image_paths"),
)
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """One row of a dataset, with where it stands.

    Attributes:
        where: File relative to the dataset, row number from 0, and the row's id.
        folder: Name of the file's folder.
        file_split: Split in the file's name.
        roles: Role of each message.
        contents: Text of each message.
    """

    where: str
    folder: str
    file_split: str
    id: str
    task: str
    roles: tuple[str, ...]
    contents: tuple[str, ...]
    source: str
    split: str
    subject_id: str
    study_id: str
    report_turn: int | None
    context: str | None
    labels: tuple[int | None, ...] | None
    template_id: str
    target_source: str
    generator: dict[str, str | None] | None
    flags: tuple[str, ...]
    image_paths: tuple[str, ...]

    @property
    def answer(self) -> str:
        """The target."""
        return self.contents[-1] if self.contents else ""


def data_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a dataset, in order.

    Raises:
        DataError: If there is none.
    """
    files = sorted(folder.glob("*/*.parquet"))
    if not files:
        raise DataError("no built dataset here", where=str(folder), mend="run radialog-instruct build first")
    return files


def read_rows(folder: Path, file: Path) -> Iterator[CheckedRow]:
    """Yield the rows of one file.

    Raises:
        DataError: If the file is damaged or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = file.relative_to(folder).as_posix()
    number = 0
    try:
        parquet = pq.ParquetFile(file)
        for batch in parquet.iter_batches(_BATCH, columns=list(_COLUMNS)):
            table = {column: batch.column(column).to_pylist() for column in batch.schema.names}
            for values in zip(*(table[column] for column in _COLUMNS), strict=True):
                row = dict(zip(_COLUMNS, values, strict=True))
                messages, labels = row["messages"] or [], row["finding_labels"]
                yield CheckedRow(
                    where=f"{name} row {number}, id {row['id']}",
                    folder=file.parent.name,
                    file_split=file.name.split("-")[0],
                    id=row["id"] or "",
                    task=row["task"] or "",
                    roles=tuple(message["role"] for message in messages),
                    contents=tuple(message["content"] or "" for message in messages),
                    source=row["source"] or "",
                    split=row["split"] or "",
                    subject_id=row["subject_id"] or "",
                    study_id=row["study_id"] or "",
                    report_turn=row["report_turn"],
                    context=row["context"],
                    labels=tuple(labels) if labels is not None else None,
                    template_id=row["template_id"] or "",
                    target_source=row["target_source"] or "",
                    generator=row["generator"],
                    flags=tuple((row["quality"] or {}).get("flags") or ()),
                    image_paths=tuple(row["image_paths"] or ()),
                )
                number += 1
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise DataError(f"cannot read: {error}", where=name, mend="build it again") from error
