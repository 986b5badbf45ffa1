"""Context dropping: how much text a training dialog about a report still shows (paper, equation 1).

For findings QA, region QA and view classification one of three contexts is drawn uniformly: ``full`` keeps the report
turn and the findings text, ``none`` removes both so that only the image is left, ``partial`` keeps half of the report's
sentences. The draw depends on the row, the epoch and the seed alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from radialog_instruct.ids import pick, rank
from radialog_instruct.records import Turn

Context = Literal["full", "none", "partial"]
CONTEXTS: tuple[Context, ...] = ("full", "none", "partial")
DROPPING_TASKS = frozenset({"findings_qa_complete", "findings_qa_binary", "region_qa", "view_classification"})
"""Tasks that the image alone can answer."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A dialog after context dropping."""

    turns: tuple[Turn, ...]
    context: Context


def split_sentences(text: str) -> tuple[str, ...]:
    """Split a report at full stops, question and exclamation marks that a blank follows."""
    return tuple(part for part in _SENTENCE_END.split(text.strip()) if part)


def drop_context(
    turns: Sequence[Turn], task: str, report_turn: int | None, row_id: str, *, epoch: int = 0, seed: int = 0
) -> Dropped:
    """Draw a context and apply it.

    Args:
        turns: The published dialog; turn ``report_turn`` holds the report.
        task: The row's task; tasks outside ``DROPPING_TASKS`` stay as they are.
        report_turn: Index of the report's turn, or None where there is none.
        row_id: The row's id.
        epoch: Every epoch draws anew.
        seed: Seed of the draw.

    Returns:
        The dialog and its context. A partial report keeps ceil(n / 2) sentences in their order.
    """
    if task not in DROPPING_TASKS:
        return Dropped(tuple(turns), "full")
    if report_turn is None:
        return Dropped(tuple(turns), "none")
    context = CONTEXTS[pick(len(CONTEXTS), seed, "context", row_id, str(epoch))]
    if context == "full":
        return Dropped(tuple(turns), context)
    if context == "none":
        return Dropped(tuple(turns[report_turn + 1 :]), context)
    sentences = split_sentences(turns[report_turn].content)
    by_rank = sorted(range(len(sentences)), key=lambda i: rank(seed, "sentence", row_id, str(epoch), str(i)))
    kept = sorted(by_rank[: (len(sentences) + 1) // 2])
    partial = Turn(turns[report_turn].role, " ".join(sentences[i] for i in kept))
    return Dropped((*turns[:report_turn], partial, *turns[report_turn + 1 :]), context)
