"""Reads a paper's tables: what was printed, and which of a run's metrics may stand beside it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from radialog_instruct.errors import DataError

Cell = StrictBool | StrictInt | StrictFloat | StrictStr | None
RADIALOG = Path(__file__).with_name("radialog_2025.yaml")
Kind = Literal["score", "flag", "text", "count", "number"]

_KINDS: dict[Kind, tuple[type, ...]] = {
    "score": (int, float),
    "number": (int, float),
    "count": (int,),
    "flag": (bool,),
    "text": (str,),
}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measure(_Record):
    """What a run must have measured for its number to stand in a printed column."""

    metric: str
    """Key in the evaluation's metrics."""
    scale: float = 100
    """Printed value over the metric's value: the paper prints percentages."""
    decimals: int = 1
    needs: tuple[str, ...] = ()
    """Parts of the metric's signature without which the number is another quantity."""


class Column(_Record):
    """A printed column; a score column names the data, the evaluation and the measure behind it."""

    key: str
    label: str
    kind: Kind = "score"
    group: str | None = None
    sources: tuple[str, ...] = ()
    """Data that the column's evaluation is scored on; a reader of IU-Xray may hold Rad-ReStruct's reports."""
    evaluation: str | None = None
    measure: str | None = None

    @model_validator(mode="after")
    def _score_is_traced(self) -> Self:
        if self.kind == "score" and not (self.sources and self.evaluation and self.measure):
            raise ValueError(f"the score column {self.key!r} needs sources, evaluation and measure")
        return self


class ReferenceRow(_Record):
    """A method and what was printed for it; None where the paper has no value."""

    method: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    """Keys of the table's notes."""


class ReferenceTable(_Record):
    """One printed table."""

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[ReferenceRow, ...]
    notes: dict[str, str] = {}
    """Footnotes by key; one that no row names belongs to the whole table."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{self.id}, {row.method}: {len(row.cells)} cells for {len(self.columns)} columns")
            for column, cell in zip(self.columns, row.cells, strict=True):
                number_is_flag = isinstance(cell, bool) and column.kind != "flag"
                if cell is not None and (number_is_flag or not isinstance(cell, _KINDS[column.kind])):
                    raise ValueError(f"{self.id}, {row.method}: {cell!r} is no {column.kind}")
            if missing := set(row.notes) - set(self.notes):
                raise ValueError(f"{self.id}, {row.method}: no note {', '.join(sorted(missing))}")
        return self

    def cell(self, method: str, column: str) -> Cell:
        """Return what is printed for a method.

        Raises:
            KeyError: If there is no such row or column.
        """
        rows = {row.method: row for row in self.rows}
        keys = [each.key for each in self.columns]
        if column not in keys:
            raise KeyError(column)
        return rows[method].cells[keys.index(column)]


class Reference(_Record):
    """All tables of a paper."""

    source: str
    test_studies: dict[str, int] = {}
    """Studies of the official test splits, by source, or by evaluation where that has a split of its own."""
    measures: dict[str, Measure]
    tables: tuple[ReferenceTable, ...]

    @model_validator(mode="after")
    def _measures_are_known(self) -> Self:
        used = {column.measure for table in self.tables for column in table.columns if column.measure}
        if missing := used - set(self.measures):
            raise ValueError(f"no measure {', '.join(sorted(missing))}")
        return self

    def table(self, name: str) -> ReferenceTable:
        """Return a table by its id.

        Raises:
            KeyError: If there is none.
        """
        return {table.id: table for table in self.tables}[name]


@cache
def load_reference(path: Path = RADIALOG) -> Reference:
    """Load a paper's tables; by default those of RaDialog (Pellegrini et al., MIDL 2025).

    Raises:
        DataError: If the file is missing or not such tables.
    """
    try:
        return Reference.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError("cannot read the tables", where=str(path), mend="reinstall radialog") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise DataError(f"not the tables of a paper ({error})", where=str(path), mend="reinstall radialog") from error
