from __future__ import annotations

from collections import Counter

import pytest

from radialog_instruct.context import drop_context, split_sentences
from radialog_instruct.records import Turn

TURNS = (
    Turn("user", "Report?"),
    Turn("assistant", "The heart is 1.5 times enlarged. No effusion. Clear lungs."),
    Turn("user", "View?"),
    Turn("assistant", "AP"),
)


def test_contexts_are_uniform_and_new_in_each_epoch() -> None:
    counts = Counter(drop_context(TURNS, "view_classification", 1, str(i)).context for i in range(3_000))
    assert all(900 < n < 1_100 for n in counts.values())
    assert set(counts) == {"full", "none", "partial"}
    drawn = {drop_context(TURNS, "view_classification", 1, "x", epoch=e).context for e in range(20)}
    assert len(drawn) == 3


def test_none_removes_the_report_turn_and_partial_keeps_half_in_order() -> None:
    seen = {}
    for i in range(60):
        dropped = drop_context(TURNS, "findings_qa_binary", 1, str(i))
        seen.setdefault(dropped.context, []).append(dropped.turns)
    assert all(turns == TURNS for turns in seen["full"])
    assert all(turns == TURNS[2:] for turns in seen["none"])
    sentences = split_sentences(TURNS[1].content)
    for turns in seen["partial"]:
        kept = split_sentences(turns[1].content)
        assert len(kept) == 2
        assert list(kept) == [s for s in sentences if s in kept]
    assert len({turns[1].content for turns in seen["partial"]}) == 3


@pytest.mark.parametrize(
    ("task", "report_turn", "context"), [("impression", 1, "full"), ("view_classification", None, "none")]
)
def test_other_dialogs_stay_as_they_are(task: str, report_turn: int | None, context: str) -> None:
    for i in range(10):
        dropped = drop_context(TURNS, task, report_turn, str(i))
        assert (dropped.turns, dropped.context) == (TURNS, context)


def test_sentences_end_at_marks_that_a_blank_follows() -> None:
    assert split_sentences("Size 1.5 cm. Clear? Yes!") == ("Size 1.5 cm.", "Clear?", "Yes!")
    assert split_sentences("  ") == ()
