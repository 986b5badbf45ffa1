from __future__ import annotations

import pytest

from radialog_model.data.batches import packed, padded
from radialog_model.data.encode import IGNORED, Encoded

ROWS = [Encoded([7, 8, 9], [IGNORED, 8, 9]), Encoded([5, 6], [5, 6])]


def test_rows_are_padded_on_the_left_so_that_answers_end_together() -> None:
    batch = padded(ROWS, pad=0)
    assert batch["input_ids"].tolist() == [[7, 8, 9], [0, 5, 6]]
    assert batch["labels"].tolist() == [[IGNORED, 8, 9], [IGNORED, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 0, 1]]


def test_packed_rows_begin_anew_and_no_row_predicts_the_next_one() -> None:
    batch = packed(ROWS)
    assert batch["input_ids"].tolist() == [[7, 8, 9, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["labels"].tolist() == [[IGNORED, 8, 9, IGNORED, 6]]
    assert "attention_mask" not in batch


def test_a_pad_that_is_also_the_end_of_a_turn_stays_supervised() -> None:
    batch = padded([Encoded([1, 2, 2], [IGNORED, 2, 2]), Encoded([1, 2], [IGNORED, 2])], pad=2)
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 2], [IGNORED, IGNORED, 2]]


def test_an_empty_micro_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        padded([], pad=0)
