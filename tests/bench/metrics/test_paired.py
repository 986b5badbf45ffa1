from __future__ import annotations

import itertools
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radialog_bench.metrics import classification_metrics, clinical_metrics, lexical_metrics, paired
from radialog_bench.metrics.base import Floats, Metric, OneOf
from radialog_bench.metrics.lexical import mean
from radialog_bench.metrics.paired import Pair, PairedResult, paired_tests
from radialog_bench.metrics.rad_restruct.measures import vector_metrics
from radialog_bench.metrics.significance import bootstrap_p, holm, mcnemar_p, randomisation_p
from radialog_instruct.findings import make_labels

MEAN: Metric[float] = Metric("mean", "mean|v1", lambda p, r: np.column_stack((p, np.ones(len(p)))), mean)
BLEU4 = lexical_metrics()[3]


def mean_pair(a: np.ndarray, b: np.ndarray) -> Pair:
    return Pair(MEAN, MEAN.statistics(a, a), MEAN.statistics(b, b))


def bleu_pair() -> tuple[Pair, list[str]]:
    truth = ["the heart is enlarged", "no pleural effusion is seen", "the lungs are clear", "a small nodule is seen"]
    first = ["the heart is normal", "no pleural effusion", "the lungs are clear", "no nodule"]
    second = ["the heart is enlarged", "small effusion is seen", "lungs are clear", "a small nodule is seen"]
    statistics = BLEU4.statistics(first * 2, truth * 2), BLEU4.statistics(second * 2, truth[::-1] * 2)
    return Pair(BLEU4, *statistics), ["p1", "p2", "p2", "p3", "p4", "p5", "p1", "p6"]


def test_randomisation_approaches_the_share_of_all_swaps() -> None:
    pair, clusters = bleu_pair()
    patients = sorted(set(clusters))
    member = np.array([patients.index(name) for name in clusters])
    observed = abs(float(BLEU4.value(pair.b.sum(0)) - BLEU4.value(pair.a.sum(0))))
    extreme = 0
    for swap in itertools.product((False, True), repeat=len(patients)):
        swapped = np.array(swap)[member][:, None]
        a, b = np.where(swapped, pair.b, pair.a), np.where(swapped, pair.a, pair.b)
        extreme += abs(float(BLEU4.value(b.sum(0)) - BLEU4.value(a.sum(0)))) >= observed - 1e-12
    limit = extreme / 2 ** len(patients)
    assert 0 < limit < 1
    (result,) = paired_tests([pair], clusters, resamples=20_000, seed=3)
    assert result.p_randomisation == pytest.approx(limit, abs=4 * sqrt(limit * (1 - limit) / 20_000) + 1e-4)


def test_the_bootstrap_of_a_mean_is_the_analytic_normal_one() -> None:
    generator = np.random.default_rng(1)
    a = generator.normal(0.50, 0.2, 900)
    b = a + generator.normal(0.012, 0.15, 900)
    (result,) = paired_tests([mean_pair(a, b)], [str(i) for i in range(900)], resamples=20_000, seed=0)
    gap, error = float((b - a).mean()), float((b - a).std() / sqrt(900))
    assert result.ci95 == pytest.approx((gap - 1.96 * error, gap + 1.96 * error), abs=0.05 * error)
    expected = 2 * stats.norm.sf(abs(gap) / error)
    assert result.p_bootstrap == pytest.approx(expected, abs=0.01)
    assert result.p_randomisation == pytest.approx(expected, abs=0.01)


def test_patients_are_drawn_whole_so_copies_of_a_patient_add_no_certainty() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.normal(0.5, 0.1, 60), generator.normal(0.52, 0.1, 60)
    names = [f"p{i:02d}" for i in range(60)]
    (once,) = paired_tests([mean_pair(a, b)], names, resamples=2000, seed=5)
    (four,) = paired_tests([mean_pair(np.repeat(a, 4), np.repeat(b, 4))], np.repeat(names, 4), resamples=2000, seed=5)
    assert four.ci95 == pytest.approx(once.ci95, abs=1e-12)
    assert (four.p_bootstrap, four.p_randomisation) == (once.p_bootstrap, once.p_randomisation)
    (apart,) = paired_tests(
        [mean_pair(np.repeat(a, 4), np.repeat(b, 4))], [str(i) for i in range(240)], resamples=2000, seed=5
    )
    assert apart.ci95 is not None
    assert once.ci95 is not None
    assert apart.ci95[1] - apart.ci95[0] < 0.6 * (once.ci95[1] - once.ci95[0])


def many_pairs(n: int = 40) -> tuple[list[Pair], list[str]]:
    """Return metrics of all families, some of them with shared statistics."""
    generator = np.random.default_rng(8)
    words = np.array(["the", "heart", "is", "enlarged", "no", "effusion", "lungs", "clear", "."])
    texts = [[" ".join(generator.choice(words, 9)) for _ in range(n)] for _ in range(3)]
    labels = [
        [make_labels({"Edema": int(v), "Fracture": int(w)}) for v, w in generator.integers(-1, 2, (n, 2))]
        for _ in range(3)
    ]
    views = [list(generator.choice(["ap", "pa", "ll"], n)) for _ in range(3)]
    vectors = [list((generator.random((n, 12)) < 0.3).astype(float)) for _ in range(3)]
    pairs = [
        Pair(metric, metric.statistics(sides[0], sides[2]), metric.statistics(sides[1], sides[2]))  # type: ignore[arg-type]
        for metrics, sides in (
            (lexical_metrics(), texts),
            (clinical_metrics("test"), labels),
            (classification_metrics(("ap", "pa", "ll", "lateral"), "whole-word"), views),
            (vector_metrics(matched=True), vectors),
        )
        for metric in metrics
    ]
    return pairs, [f"p{i // 2}" for i in range(n)]


def assert_close(results: list[PairedResult], expected: list[PairedResult]) -> None:
    """Compare up to the last bits of a matrix product, which depend on its shape."""
    for one, two in zip(results, expected, strict=True):
        assert (one.a, one.b, one.n_undefined) == (two.a, two.b, two.n_undefined)
        assert (one.p_bootstrap, one.p_randomisation) == (two.p_bootstrap, two.p_randomisation)
        assert one.ci95 == pytest.approx(two.ci95, abs=1e-12)


def test_shared_resamples_equal_those_of_a_metric_alone_and_of_any_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, clusters = many_pairs()
    together = paired_tests(pairs, clusters, resamples=300, seed=4)
    for pair, expected in zip(pairs, together, strict=True):
        assert_close(paired_tests([pair], clusters, resamples=300, seed=4), [expected])
    monkeypatch.setattr(paired, "_CELLS", 700)
    assert_close(paired_tests(pairs, clusters, resamples=300, seed=4), together)
    other = paired_tests(pairs, clusters, resamples=300, seed=5)
    assert [result.ci95 for result in other] != [result.ci95 for result in together]


def test_a_family_is_computed_once_a_resample_and_side() -> None:
    rows = []

    def moments(sums: Floats) -> Floats:
        rows.append(len(sums) if sums.ndim == 2 else 0)
        first = sums[..., 0] / sums[..., 1]
        return np.stack([first, first**2], axis=-1)

    a, b = np.array([[1.0, 1], [2, 1], [4, 1]]), np.array([[2.0, 1], [2, 1], [3, 1]])
    metrics = [Metric[float](f"moment{i}", "v1", lambda p, r: a, OneOf(moments, i)) for i in range(2)]
    one, two = paired_tests([Pair(m, a, b) for m in metrics], list("xyz"), resamples=50, seed=0)
    assert (one.a, two.a) == pytest.approx((7 / 3, 49 / 9))
    assert sum(rows) == 2 * 2 * 50  # the sides of both tests


def test_exchanging_the_runs_turns_the_signs_and_keeps_every_p() -> None:
    pairs, clusters = many_pairs()
    forward = paired_tests(pairs, clusters, resamples=400, seed=1)
    backward = paired_tests([Pair(p.metric, p.b, p.a) for p in pairs], clusters, resamples=400, seed=1)
    for one, two in zip(forward, backward, strict=True):
        assert (one.a, one.b) == (two.b, two.a)
        assert (one.p_bootstrap, one.p_randomisation) == (two.p_bootstrap, two.p_randomisation)
        assert one.ci95 is not None
        assert two.ci95 is not None
        assert one.ci95 == pytest.approx((-two.ci95[1], -two.ci95[0]), abs=1e-12)


def test_equal_runs_have_no_difference_and_p_one() -> None:
    pairs, clusters = many_pairs()
    for result in paired_tests([Pair(p.metric, p.a, p.a) for p in pairs], clusters, resamples=200, seed=0):
        assert (result.ci95, result.p_bootstrap, result.p_randomisation) == ((0, 0), 1, 1)


def test_the_smallest_p_is_never_zero() -> None:
    pair = mean_pair(np.zeros(40), np.ones(40))
    (result,) = paired_tests([pair], [str(i) for i in range(40)], resamples=999, seed=0)
    assert result.p_bootstrap == 1 / 1000
    assert result.p_randomisation == 1 / 1000


def test_one_patient_no_resamples_and_undefined_values_have_no_interval() -> None:
    pair = mean_pair(np.zeros(4), np.ones(4))
    for clusters, resamples in ((["p"] * 4, 100), (list("abcd"), 0)):
        (result,) = paired_tests([pair], clusters, resamples=resamples, seed=0)
        assert (result.a, result.b, result.ci95, result.p_bootstrap, result.p_randomisation) == (0, 1, None, None, None)
    (result,) = paired_tests([mean_pair(np.array([1, np.nan]), np.ones(2))], ["a", "b"], resamples=50, seed=0)
    assert np.isnan(result.a)
    assert result.ci95 is None


def test_resamples_in_which_the_metric_is_undefined_are_left_out_and_counted() -> None:
    def statistics(p: object, r: object) -> np.ndarray:
        return np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])

    rare: Metric[str] = Metric("rare", "rare|v1", statistics, mean)
    pair = Pair(rare, statistics(0, 0), statistics(0, 0))
    (result,) = paired_tests([pair], ["a", "b", "c"], resamples=3000, seed=0)
    assert result.n_undefined == pytest.approx(3000 * (2 / 3) ** 3, rel=0.1)
    assert result.p_bootstrap == 1


def test_a_smooth_metric_weighs_patients_so_that_a_rare_class_stays() -> None:
    def classes(sums: np.ndarray) -> np.ndarray:  # recall over the classes that occur
        hits, occurs = sums[..., :2], sums[..., 2:] > 0
        return np.where(occurs, hits / np.maximum(sums[..., 2:], 1e-9), 0).sum(-1) / np.maximum(occurs.sum(-1), 1)

    first, rare = [1.0, 0, 1, 0], [0.0, 1, 0, 1]
    a = np.array([first] * 29 + [rare])
    b = a.copy()
    b[-1, 1] = 0
    drawn = Metric[str]("recall", "recall|v1", lambda p, r: a, classes)
    smooth = replace(drawn, smooth=True)
    names = [f"p{i}" for i in range(30)]
    loses, keeps = paired_tests([Pair(drawn, a, b), Pair(smooth, a, b)], names, resamples=500, seed=0)
    assert loses.ci95 == (-0.5, 0)
    assert keeps.ci95 == pytest.approx((-0.5, -0.5))
    assert keeps.p_randomisation == loses.p_randomisation


def test_statistics_of_different_samples_are_refused() -> None:
    good = MEAN.statistics([1.0, 2.0], [0.0, 0.0])
    with pytest.raises(ValueError, match="mean: statistics"):
        paired_tests([Pair(MEAN, good, good[:1])], ["a", "b"], resamples=10, seed=0)
    with pytest.raises(ValueError, match="for 3 samples"):
        paired_tests([Pair(MEAN, good, good)], ["a", "b", "c"], resamples=10, seed=0)


@pytest.mark.parametrize(
    ("only_a", "only_b", "expected"),
    [
        (0, 0, 1.0),
        (1, 9, 22 / 1024),
        (9, 1, 22 / 1024),
        (0, 5, 2 / 32),
        (5, 5, 1.0),
        (86, 150, 4.1149e-5),  # chi-square 63^2 / 236 = 16.818
        (20, 21, 1.0),  # the continuity correction leaves nothing
        (10, 25, 0.0179604),  # chi-square 14^2 / 35 = 5.6
    ],
)
def test_mcnemar_on_worked_counts(only_a: int, only_b: int, expected: float) -> None:
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_scipy(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    if n == 0:
        return
    if n < 25:
        expected = stats.binomtest(only_a, n).pvalue
    else:
        expected = stats.chi2.sf(max(0, abs(only_a - only_b) - 1) ** 2 / n, 1)
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_holm_on_worked_values() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_p_counts_ties_as_extreme() -> None:
    assert bootstrap_p(0.5, np.array([0.0, 0.5, 1.0])) == pytest.approx(3 / 4)
    assert randomisation_p(-0.5, np.array([0.5, -0.5, 0.1, np.nan])) == pytest.approx(4 / 5)
