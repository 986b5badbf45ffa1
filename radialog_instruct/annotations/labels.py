"""Labels made beforehand by ``radialog-instruct label``, as a Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from radialog_instruct.errors import DataError
from radialog_instruct.files import replacing
from radialog_instruct.findings import FINDINGS, Labels, LabelValue

COLUMNS = ("source", "study_id", "labeler", "signature", *FINDINGS)
"""Columns of a label file; the findings are int8, null where blank."""


class LabelTable:
    """The labels of one labeler by study.

    Args:
        path: The Parquet file.

    Raises:
        DataError: If it is missing, damaged, or holds two labelers or a study twice.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            table = pq.read_table(path, columns=list(COLUMNS))
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            mend = "write it with radialog-instruct label"
            raise DataError(f"not a label file ({error})", where=str(path), mend=mend) from error
        labelers = table["labeler"].unique().to_pylist()
        if len(labelers) != 1:
            raise DataError(f"labels by {len(labelers)} labelers", where=str(path), mend="one labeler a file")
        self.labeler: str = labelers[0]
        values = zip(*(table[name].to_pylist() for name in FINDINGS), strict=True)
        self._labels: dict[str, Labels] = {}
        shared: dict[Labels, Labels] = {}
        for row, (study, labels) in enumerate(zip(table["study_id"].to_pylist(), values, strict=True)):
            if study in self._labels:
                raise DataError(f"study {study} is labelled twice", where=f"{path}: row {row}", mend="label again")
            if not set(labels) <= {1, 0, -1, None}:
                raise DataError(f"study {study} has a value other than 1, 0, -1", where=f"{path}: row {row}")
            self._labels[study] = shared.setdefault(labels, labels)

    def of(self, study_id: str) -> Labels | None:
        """Return a study's labels, or None where the file lacks it."""
        return self._labels.get(study_id)

    def inputs(self) -> tuple[Path, ...]:
        """Return the file."""
        return (self.path,)


def write_labels(
    path: Path, source: str, labeler: str, signature: str, study_ids: Sequence[str], labels: Iterable[Labels]
) -> None:
    """Write a label file, atomically.

    Args:
        path: The Parquet file.
        source: Name of the source.
        labeler: Name of the labeler.
        signature: The labeler's signature.
        study_ids: The studies.
        labels: Their labels, in the same order.

    Raises:
        UsageError: If the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(study_ids)
    columns = list(zip(*labels, strict=True)) or [()] * len(FINDINGS)
    values = [pa.array(cast("tuple[LabelValue, ...]", column), pa.int8()) for column in columns]
    constants = [pa.repeat(source, n), pa.array(study_ids, pa.string()), pa.repeat(labeler, n), pa.repeat(signature, n)]
    table = pa.table(dict(zip(COLUMNS, [*constants, *values], strict=True)))
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
