from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radialog_instruct.mixtures import TaskMix
from radialog_instruct.tasks import TaskContext
from radialog_instruct.tasks.findings_qa import ASKED_FINDINGS, FindingsQABinary
from radialog_instruct.tasks.rad_restruct_qa import RadReStructQA
from radialog_instruct.tasks.report_generation import ReportGeneration
from radialog_instruct.tasks.selection import Candidates, Selection, balanced, water_fill


@given(st.integers(0, 5000), st.integers(0, 5000), st.sampled_from([0.5, 0.25, 0.6, 0.1]))
def test_balancing_keeps_the_scarcer_answer_and_the_share(n_yes: int, n_no: int, share: float) -> None:
    yes, no = balanced(n_yes, n_no, share)
    assert 0 <= yes <= n_yes
    assert 0 <= no <= n_no
    assert abs(yes - share * (yes + no)) <= 1
    # Nothing more could be kept, up to rounding: two more of both would exceed what there is.
    assert yes == n_yes or (yes + 2) * (1 - share) / share > n_no


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 100), min_size=1), st.integers(0, 500))
def test_water_is_level_and_nothing_is_spilt(capacities: dict[str, int], total: int) -> None:
    shares = water_fill(capacities, total)
    assert sum(shares.values()) == min(total, sum(capacities.values()))
    open_ones = [shares[name] for name in capacities if shares[name] < capacities[name]]
    if open_ones:
        assert max(open_ones) - min(open_ones) <= 1
        assert all(shares[name] <= max(open_ones) for name in capacities)


def test_the_smallest_ranks_are_kept_and_growth_keeps_them() -> None:
    pool = ("impression", "train", "")
    ranks = np.array([50, 10, 40, 20, 30], dtype=np.uint64)
    candidates = Candidates(ranks={pool: ranks})
    for keep, expected in ((0, set()), (2, {10, 20}), (5, {10, 20, 30, 40, 50}), (9, {10, 20, 30, 40, 50})):
        selection = Selection({pool: candidates.limit(pool, keep)})
        assert {rank for rank in ranks.tolist() if selection.keeps(pool, rank)} == expected
    assert Selection().keeps(pool, 2**64 - 1)


def test_reports_without_findings_are_cut_to_their_fraction() -> None:
    task = ReportGeneration(TaskContext(mix={"report_generation": TaskMix(no_finding_fraction=1 / 14)}))
    kept = task.allocate({"finding": 1300, "no finding": 900}, 2200)
    assert kept == {"finding": 1300, "no finding": 100}
    assert kept["no finding"] / sum(kept.values()) == pytest.approx(1 / 14)
    assert task.allocate({"finding": 13, "no finding": 0}, 13) == {"finding": 13, "no finding": 0}


def test_the_quota_of_binary_questions_is_spread_over_the_classes() -> None:
    task = FindingsQABinary(TaskContext(mix={"findings_qa_binary": TaskMix(share=0.5)}))
    counts = {f"{name}|{answer}": 100 for name in ASKED_FINDINGS for answer in ("yes", "no")}
    counts["Fracture|yes"] = 3
    kept = task.allocate(counts, 520)  # 260 questions for 13 classes
    assert kept["Fracture|yes"] == kept["Fracture|no"] == 3
    others = [kept[f"{name}|yes"] for name in ASKED_FINDINGS if name != "Fracture"]
    assert set(others) <= {10, 11}
    assert all(kept[f"{name}|yes"] - kept[f"{name}|no"] in (-1, 0, 1) for name in ASKED_FINDINGS)
    assert 246 <= sum(kept.values()) <= 260  # one row a class at most is lost to the balance


def test_structured_questions_are_balanced_by_type() -> None:
    counts = {"lung_signs|area|yes": 5, "lung_signs|area|no": 50, "bone_signs|finding|no": 9}
    kept = RadReStructQA().allocate(counts, 60)
    assert kept["lung_signs|area|yes"] == kept["lung_signs|area|no"] == 5
    assert kept["bone_signs|finding|no"] == 0
