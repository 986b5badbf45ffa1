"""The paper's tables with runs beside them.

A run stands in a table only with numbers that are the same quantity: the same data, and a metric whose signature has
what the column needs. A CE from another labeler is withheld, the demonstration collection never stands beside
published numbers, and what else differs is said in the row.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from radialog_bench.leaderboard.differences import row_notes, withheld
from radialog_bench.leaderboard.entry import LeaderboardEntry
from radialog_bench.leaderboard.whole import why_not_whole
from radialog_bench.reference import Column, Reference, ReferenceTable, load_reference
from radialog_bench.reference.tables import Cell
from radialog_bench.results import MetricResult

SCHEMA_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoardCell(_Record):
    """A cell of a table, in the scale of its column."""

    value: Cell = None
    ci95: tuple[float, float] | None = None
    withheld: str | None = None
    """Why a run's number does not stand here."""
    best: bool = False
    """Whether it is the highest printed value of its column."""


class BoardRow(_Record):
    """A printed method, or a run."""

    method: str
    yours: bool
    comparable: bool = True
    """Whether a run scored the whole official test split, as the printed rows did."""
    cells: tuple[BoardCell, ...]
    notes: tuple[str, ...]
    """Footnotes of a printed row; in what a run's protocol differs."""


class BoardTable(_Record):
    """A printed table, with the runs that may stand in it."""

    id: str
    title: str
    columns: tuple[Column, ...]
    digits: tuple[int, ...]
    """Decimals of each column."""
    rows: tuple[BoardRow, ...]
    notes: tuple[str, ...]
    """Footnotes of the whole table."""


class Board(_Record):
    """A leaderboard."""

    schema_version: int = SCHEMA_VERSION
    source: str
    tables: tuple[BoardTable, ...]
    runs: tuple[LeaderboardEntry, ...]
    outside: dict[str, str]
    """Run -> why it stands in no table."""


def build_board(entries: Sequence[LeaderboardEntry], reference: Reference | None = None) -> Board:
    """Put runs beside the paper's tables.

    Args:
        entries: The runs, in the order they are to stand.
        reference: A paper's tables; by default RaDialog's.
    """
    reference = reference or load_reference()
    names = run_names(entries)
    tables = tuple(_table(table, reference, entries, names) for table in reference.tables)
    placed = {row.method for table in tables for row in table.rows if row.yours}
    outside = {name: _why_outside(entry) for name, entry in zip(names, entries, strict=True) if name not in placed}
    return Board(source=reference.source, tables=tables, runs=tuple(entries), outside=outside)


def run_names(entries: Sequence[LeaderboardEntry]) -> list[str]:
    """Return a name for each run: its model's, with data and fingerprint where that is not enough."""
    plain = [entry.model.name for entry in entries]
    with_data = [f"{entry.model.name} on {entry.data.source}" for entry in entries]
    names: list[str] = []
    for index, entry in enumerate(entries):
        short = plain[index] if plain.count(plain[index]) == 1 else with_data[index]
        if with_data.count(with_data[index]) > 1:
            short = f"{with_data[index]} ({entry.model.fingerprint[:8]})"
        names.append(f"{short} #{names.count(short) + 1}" if short in names else short)
    return names


def _table(
    table: ReferenceTable, reference: Reference, entries: Sequence[LeaderboardEntry], names: Sequence[str]
) -> BoardTable:
    best = [_best(table, index) for index in range(len(table.columns))]
    printed = [
        BoardRow(
            method=row.method,
            yours=False,
            cells=tuple(
                BoardCell(value=cell, best=cell is not None and cell is not True and cell == top)
                for cell, top in zip(row.cells, best, strict=True)
            ),
            notes=tuple(table.notes[key] for key in row.notes),
        )
        for row in table.rows
    ]
    yours = [
        row for name, entry in zip(names, entries, strict=True) if (row := _run_row(table, reference, name, entry))
    ]
    used = {key for row in table.rows for key in row.notes}
    return BoardTable(
        id=table.id,
        title=table.title,
        columns=table.columns,
        digits=tuple(reference.measures[c.measure].decimals if c.measure else 1 for c in table.columns),
        rows=(*printed, *yours),
        notes=tuple(text for key, text in table.notes.items() if key not in used),
    )


def _best(table: ReferenceTable, index: int) -> float | None:
    if table.columns[index].kind != "score":
        return None
    cells = (row.cells[index] for row in table.rows)
    return max((cell for cell in cells if isinstance(cell, int | float)), default=None)


def _run_row(table: ReferenceTable, reference: Reference, name: str, entry: LeaderboardEntry) -> BoardRow | None:
    cells = [_run_cell(column, reference, entry) for column in table.columns]
    if all(cell.value is None and cell.withheld is None for cell in cells):
        return None
    evaluations = dict.fromkeys(
        column.evaluation
        for column, cell in zip(table.columns, cells, strict=True)
        if column.evaluation and (cell.value is not None or cell.withheld)
    )
    reasons = dict.fromkeys(cell.withheld for cell in cells if cell.withheld)
    partial = "; ".join(why_not_whole(entry, tuple(evaluations), reference.test_studies))
    return BoardRow(
        method=name,
        yours=True,
        comparable=not partial,
        cells=tuple(cells),
        notes=(
            *([f"not comparable with the printed rows: {partial}"] if partial else ()),
            *row_notes(entry, tuple(evaluations)),
            *reasons,
        ),
    )


def _run_cell(column: Column, reference: Reference, entry: LeaderboardEntry) -> BoardCell:
    if column.measure is None or entry.data.source not in column.sources or column.evaluation not in entry.evaluations:
        return BoardCell()
    measure = reference.measures[column.measure]
    metric: MetricResult | None = entry.evaluations[column.evaluation].metrics.get(measure.metric)
    if metric is None:
        return BoardCell()
    reason = withheld(column.label, measure, metric)
    if reason or metric.value is None:
        return BoardCell(withheld=reason)
    low_high = tuple(end * measure.scale for end in metric.ci95) if metric.ci95 else None
    return BoardCell(value=metric.value * measure.scale, ci95=low_high)


def _why_outside(entry: LeaderboardEntry) -> str:
    if entry.data.source == "demo":
        return "scored on the demonstration collection, which shows that the software works and nothing else"
    return f"the paper has no table on {entry.data.source} for these evaluations"
