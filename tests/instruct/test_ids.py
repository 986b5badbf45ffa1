from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialog_instruct.ids import pick, rank, sample_id, shard_of


def test_values_are_pinned_because_published_ids_depend_on_them() -> None:
    assert sample_id("impression", "iu-xray", "CXR1", "", "") == "db735c237b5568c2145f2129ce9dad81"
    assert rank(3, "x") == 10745983104159504157
    assert (pick(10, 0, "a", "b"), shard_of("p1", 8)) == (9, 1)


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(1, 50), st.integers(0, 2**31))
def test_a_pick_depends_on_seed_and_key_alone(key: list[str], n: int, seed: int) -> None:
    assert pick(n, seed, *key) == pick(n, seed, *key)
    assert 0 <= pick(n, seed, *key) < n


def test_a_key_is_more_than_its_joined_text() -> None:
    assert rank(0, "a", "b|c") != rank(0, "a|b", "c")
    assert sample_id("a", "") != sample_id("a")


def test_picks_are_spread_evenly() -> None:
    counts = Counter(pick(10, 7, "impression", str(i), "variant") for i in range(10_000))
    assert set(counts) == set(range(10))
    assert max(counts.values()) < 1_150  # three standard deviations are 90
    assert min(counts.values()) > 850


def test_a_larger_pool_only_displaces_what_it_must() -> None:
    small = set(sorted(range(100), key=lambda i: rank(0, str(i)))[:10])
    grown = set(sorted(range(200), key=lambda i: rank(0, str(i)))[:10])
    assert {i for i in grown if i < 100} <= small


def test_a_patient_has_one_shard_and_no_alternative_is_an_error() -> None:
    assert shard_of("p1", 8) == shard_of("p1", 8)
    assert {shard_of(str(i), 4) for i in range(100)} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="0 alternatives"):
        pick(0, 0, "x")
