"""Leaderboards as text: Markdown for papers and READMEs, tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from radialog_bench.leaderboard.board import Board, BoardCell, BoardRow, BoardTable, run_names
from radialog_bench.reference import Column
from radialog_bench.report.headlines import headline_of
from radialog_bench.report.site import in_order, number, title

WIDE = 180
"""Columns of output that goes to a file or a pipe, so that no number is wrapped."""
DASH = "\N{EN DASH}"


def cell_text(cell: BoardCell, column: Column, digits: int) -> str:
    """Write a cell: yes, no, a number in the column's decimals, or a dash."""
    value = cell.value
    if value is None:
        return "withheld" if cell.withheld else DASH if column.kind != "flag" else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.kind == "score" and isinstance(value, int | float):
        return f"{value:.{digits}f}"
    return str(value)


def markdown(board: Board) -> str:
    """Return the leaderboard as Markdown: a table for each of the paper's, then the runs."""
    return "\n".join([*_markdown_tables(board), *_markdown_runs(board)]).rstrip() + "\n"


def print_board(board: Board, console: Console | None = None) -> None:
    """Print the leaderboard on a terminal."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    for table in board.tables:
        console.print(f"{title(table.id)}: {table.title}", style="bold", markup=False)
        console.print(_rich_table(table))
        notes = [*table.notes, *(f"{row.method}: {'; '.join(row.notes)}" for row in table.rows if row.notes)]
        for note in notes:
            console.print(f"  {note}", soft_wrap=True, markup=False)
        console.print()
    for line in _run_lines(board):
        console.print(line, soft_wrap=True, markup=False)
    console.print(f"Printed values: {board.source}", soft_wrap=True, markup=False)


def _rich_table(table: BoardTable) -> Table:
    shown = Table("Method")
    for column in table.columns:
        heading = f"{column.group}\n{column.label}" if column.group else column.label
        shown.add_column(heading, justify="left" if column.kind == "text" else "right")
    for row in table.rows:
        cells = [cell_text(*each) for each in zip(row.cells, table.columns, table.digits, strict=True)]
        # A model's name is no markup.
        shown.add_row(Text(_method(row)), *map(Text, cells), style="bold" if row.yours else None)
    return shown


def _markdown_tables(board: Board) -> Iterator[str]:
    for table in board.tables:
        yield f"### {table.title}\n"
        headings = _headings(table)
        yield _line(headings)
        yield (
            "|" + "|".join("---" if index in (0, len(headings) - 1) else "--:" for index in range(len(headings))) + "|"
        )
        for row in table.rows:
            cells = [
                f"**{text}**" if cell.best else text
                for cell, text in (
                    (cell, cell_text(cell, column, digits))
                    for cell, column, digits in zip(row.cells, table.columns, table.digits, strict=True)
                )
            ]
            yield _line([_method(row), *cells, "; ".join(row.notes)])
        yield ""
        if table.notes:
            yield " ".join(table.notes) + "\n"


def _markdown_runs(board: Board) -> Iterator[str]:
    lines = list(_run_lines(board))
    if lines:
        yield "### Your runs\n"
        yield from (f"- {line}" for line in lines)
        yield ""
    yield f"Printed values: {board.source}."


def _run_lines(board: Board) -> Iterator[str]:
    for name, entry in zip(run_names(board.runs), board.runs, strict=True):
        for evaluation in in_order(entry.evaluations):
            part = entry.evaluations[evaluation]
            first = headline_of(part.headline, part.metrics)
            if first is not None:
                metric = part.metrics[first]
                ends = f" [{number(metric.ci95[0])}, {number(metric.ci95[1])}]" if metric.ci95 else ""
                yield (
                    f"{name}, {title(evaluation)}: {first} {number(metric.value)}{ends}, "
                    f"{entry.data.source} {entry.data.split}, n = {part.n:,}"
                )
        if name in board.outside:
            yield f"{name} stands in no table: {board.outside[name]}"


def _headings(table: BoardTable) -> list[str]:
    columns = [f"{column.group} {column.label}" if column.group else column.label for column in table.columns]
    return ["Method", *columns, "Notes"]


def _method(row: BoardRow) -> str:
    mark = "yours" if row.comparable else "yours, not comparable"
    return f"{row.method} ({mark})" if row.yours else row.method


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
