"""Leaderboards: the entry that a run leaves behind, and the paper's tables with runs beside them."""

from __future__ import annotations

from radialog_bench.leaderboard.board import Board, build_board
from radialog_bench.leaderboard.entry import ENTRY, LeaderboardEntry, make_entry, read_entry, write_entry

__all__ = ["ENTRY", "Board", "LeaderboardEntry", "build_board", "make_entry", "read_entry", "write_entry"]
