from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radialog_model.data.plan import Grouping, make_plan

LENGTHS = st.lists(st.integers(1, 120), min_size=1, max_size=60)


def plan(sizes: list[int], grouping: Grouping, *, longest: int = 100, epochs: int = 2, repeats=None, seed: int = 0):
    return make_plan(
        lambda epoch: np.array(sizes),
        epochs=epochs,
        repeats=repeats or [1] * len(sizes),
        grouping=grouping,
        batch_size=4,
        longest=longest,
        seed=seed,
    )


@pytest.mark.parametrize("grouping", ["random", "length", "packed"])
@given(sizes=LENGTHS)
@settings(max_examples=40, deadline=None)
def test_every_epoch_shows_every_row_that_fits_once(grouping: Grouping, sizes: list[int]) -> None:
    made = plan(sizes, grouping)
    fits = [i for i, size in enumerate(sizes) if size <= 100]
    assert list(made.left_out) == [i for i, size in enumerate(sizes) if size > 100]
    for epoch in range(2):
        shown = sorted(row for batch in made if batch.epoch == epoch for row in batch.rows)
        assert shown == fits
    assert len(made) == made.epoch_ends[-1]


@given(sizes=LENGTHS)
@settings(max_examples=40, deadline=None)
def test_a_packed_sequence_is_never_longer_than_the_longest_and_wastes_nothing(sizes: list[int]) -> None:
    made = plan(sizes, "packed")
    used = [sum(sizes[row] for row in batch.rows) for batch in made]
    assert all(size <= 100 for size in used)
    assert made.fill == pytest.approx(1.0) or not used
    # first fit: no two sequences of a window could have been one
    first = [u for u, b in zip(used, made, strict=True) if b.epoch == 0]
    assert all(a + b > 100 for i, a in enumerate(first) for b in first[i + 1 :])


def test_rows_of_like_length_stand_together_and_pad_less() -> None:
    sizes = [10, 90] * 40
    grouped, random = plan(sizes, "length"), plan(sizes, "random")
    assert grouped.fill == pytest.approx(1.0)
    assert random.fill < 0.75
    assert all(len({sizes[row] for row in batch.rows}) == 1 for batch in grouped)


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    sizes = list(range(1, 50))
    once, again, other = plan(sizes, "random"), plan(sizes, "random"), plan(sizes, "random", seed=1)
    assert once == again
    assert once.batches != other.batches
    first, second = ([b.rows for b in once if b.epoch == epoch] for epoch in (0, 1))
    assert first != second


def test_repeated_rows_are_shown_as_often_as_told() -> None:
    made = plan([5, 5, 5], "length", epochs=1, repeats=[1, 3, 0])
    assert sorted(row for batch in made for row in batch.rows) == [0, 1, 1, 1]


def test_lengths_may_change_with_the_epoch() -> None:
    made = make_plan(
        lambda epoch: np.array([50, 150 if epoch else 50]),
        epochs=2,
        repeats=[1, 1],
        grouping="packed",
        batch_size=1,
        longest=100,
        seed=0,
    )
    assert made.left_out == (1,)
    assert [b.epoch for b in made if 1 in b.rows] == [0]
