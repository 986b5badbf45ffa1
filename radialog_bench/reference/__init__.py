"""The tables of the RaDialog paper as data, for the leaderboard and for tests of its claims."""

from __future__ import annotations

from radialog_bench.reference.tables import Column, Measure, Reference, ReferenceRow, ReferenceTable, load_reference

__all__ = ["Column", "Measure", "Reference", "ReferenceRow", "ReferenceTable", "load_reference"]
