from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from radialog_bench.metrics import classification_metrics, clinical_metrics, lexical_metrics
from radialog_bench.metrics import evaluate_metric as evaluated
from radialog_bench.metrics.clinical import per_class_table
from radialog_bench.metrics.lcs import lcs_length
from radialog_bench.metrics.protocols import PROTOCOLS, protocol_metrics
from radialog_bench.metrics.tokens import protocol_tokens, word_tokenize
from radialog_bench.results import MetricResult
from radialog_instruct.findings import FINDINGS, FIVE_FINDINGS, binarise, make_labels

CASES = [
    case
    for name in ("classification", "lexical", "protocols")
    for case in json.loads((Path(__file__).parent / "cases" / f"{name}.json").read_text())
]
VIEWS = ("ap", "pa", "lateral", "ll")


def evaluate_metric(*arguments, **options) -> MetricResult:
    return evaluated(*arguments, **options)[1]


TEXTS = [metric for name in PROTOCOLS for metric in protocol_metrics(name)]
METRICS = {m.name: m for m in (*TEXTS, *classification_metrics(VIEWS, "whole-word"))}
CE = {m.name: m for m in clinical_metrics("test")}

label_rows = st.lists(st.sampled_from([1, 0, -1, None]), min_size=14, max_size=14).map(tuple)
words = st.lists(
    st.sampled_from(["the", "lungs", "are", "clear", "no", "effusion", ".", "heart", "1.5", "cm"]), max_size=12
).map(" ".join)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['metric']}: {case['description']}")
def test_worked_cases(case: dict) -> None:
    names = [str(i) for i in range(len(case["references"]))]
    result = evaluate_metric(METRICS[case["metric"]], case["predictions"], case["references"], names, resamples=0)
    assert result.value == pytest.approx(case["expected"], abs=case["tolerance"])


def reference_scores(predictions: list[str], references: list[str]) -> list[float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses = {i: [" ".join(protocol_tokens(text))] for i, text in enumerate(predictions)}
    truths = {i: [" ".join(protocol_tokens(text))] for i, text in enumerate(references)}
    return [*Bleu(4).compute_score(truths, hypotheses, verbose=0)[0], Rouge().compute_score(truths, hypotheses)[0]]


def our_scores(predictions: list[str], references: list[str]) -> list[float | None]:
    names = [str(i) for i in range(len(references))]
    return [evaluate_metric(m, predictions, references, names, resamples=0).value for m in lexical_metrics()]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, words.filter(bool)), min_size=1, max_size=6))
def test_bleu_and_rouge_equal_pycocoevalcap(pairs: list[tuple[str, str]]) -> None:
    predictions, references = [p for p, _ in pairs], [r for _, r in pairs]
    assert our_scores(predictions, references) == pytest.approx(reference_scores(predictions, references), abs=1e-9)


@pytest.mark.shared_data
def test_bleu_and_rouge_equal_pycocoevalcap_on_real_reports(shared_data: Path) -> None:
    from radialog_instruct.sources import open_source

    studies = open_source("iu-xray", shared_data / "iu_xray").studies()
    texts = [s.sections.findings for s in studies if s.sections.findings][:300]
    shifted = [*texts[5:], *texts[:5]]
    shifted[0] = ""
    assert our_scores(shifted, texts) == pytest.approx(reference_scores(shifted, texts), abs=1e-9)


@given(st.lists(st.sampled_from("abcd"), max_size=10), st.lists(st.sampled_from("abcd"), max_size=10))
def test_the_longest_common_subsequence_equals_the_textbook_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])
    assert lcs_length(first, second) == table[-1, -1]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (
            "No pneumothorax. Heart size is 1.5 cm.",
            ["No", "pneumothorax", ".", "Heart", "size", "is", "1.5", "cm", "."],
        ),
        ("Dr. Smith can't exclude edema.", ["Dr.", "Smith", "ca", "n't", "exclude", "edema", "."]),
        ("(left > right)", ["(", "left", ">", "right", ")"]),
        ('A "nodule"', ["A", "``", "nodule", "''"]),
        ("", []),
    ],
)
def test_words_are_split_as_nltk_does(text: str, tokens: list[str]) -> None:
    assert word_tokenize(text) == tokens


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(label_rows, label_rows), min_size=1, max_size=8), st.sampled_from(["negative", "positive"]))
def test_ce_equals_scikit_learn(pairs: list, policy: str) -> None:
    guesses, truths = [g for g, _ in pairs], [t for _, t in pairs]
    a, b = (np.array([binarise(row, policy) for row in rows]) for rows in (truths, guesses))  # type: ignore[arg-type]
    names = [str(i) for i in range(len(pairs))]
    suffix = "" if policy == "negative" else "_uncertain_positive"
    five = [FINDINGS.index(name) for name in FIVE_FINDINGS]
    for average in ("macro", "micro", "samples", "weighted"):
        result = evaluate_metric(CE[f"ce_{average}_f1{suffix}"], guesses, truths, names, resamples=0)
        expected = f1_score(a, b, average=average, zero_division=0)
        if result.value is None:
            assert average == "weighted"
            assert a.sum() == 0
        else:
            assert result.value == pytest.approx(expected, abs=1e-12)
    for average in ("macro", "micro"):
        value = evaluate_metric(CE[f"ce5_{average}_f1{suffix}"], guesses, truths, names, resamples=0).value
        assert value == pytest.approx(f1_score(a[:, five], b[:, five], average=average, zero_division=0), abs=1e-12)


def test_supported_macro_leaves_out_classes_the_references_lack() -> None:
    truth = [make_labels({"Edema": 1}), make_labels({"Edema": 1, "Fracture": 1})]
    guess = [make_labels({"Edema": 1, "Pneumonia": 1}), make_labels({"Edema": 1})]
    value = evaluate_metric(CE["ce_macro_f1_supported"], guess, truth, ["a", "b"], resamples=0).value
    assert value == pytest.approx((1 + 0) / 2)
    rows = {row[0]: row for row in per_class_table(guess, truth).rows}
    assert rows["Edema"] == ("Edema", 1.0, 1.0, 1.0, 2, 2)
    assert rows["Pneumonia"] == ("Pneumonia", None, None, None, 0, 1)


def test_the_ceiling_is_what_the_references_score() -> None:
    truth = [make_labels({"Edema": 1}), make_labels({})]
    results = {name: evaluate_metric(m, truth, truth, ["a", "b"], resamples=0) for name, m in CE.items()}
    assert all(r.value == r.ceiling for r in results.values())
    assert results["ce_macro_f1"].ceiling == pytest.approx(1 / 14)
    assert results["ce_samples_f1"].ceiling == 0.5


def test_intervals_draw_patients_and_depend_on_the_seed_alone() -> None:
    metric = METRICS["accuracy"]
    guess, truth = ["ap"] * 30 + ["pa"] * 30, ["ap"] * 60
    lone = evaluate_metric(metric, guess, truth, [str(i) for i in range(60)], resamples=500)
    clustered = evaluate_metric(metric, guess, truth, [str(i // 10) for i in range(60)], resamples=500)
    assert lone.ci95 is not None
    assert clustered.ci95 is not None
    assert clustered.ci95[1] - clustered.ci95[0] > 2 * (lone.ci95[1] - lone.ci95[0])
    assert lone == evaluate_metric(metric, guess, truth, [str(i) for i in range(60)], resamples=500)
    # the normal approximation of a proportion: 0.5 +- 1.96 * sqrt(0.25 / 60)
    assert lone.ci95 == pytest.approx((0.3735, 0.6265), abs=0.03)


def test_degenerate_samples_are_defined_and_never_nan() -> None:
    metric = METRICS["bleu4"]
    assert evaluate_metric(metric, [], [], []).unavailable == "no sample to score"
    assert evaluate_metric(metric, ["a"], ["a"], ["p"]).ci95 is None
    assert evaluate_metric(metric, [""], [""], ["p"]).value is not None
    weighted = evaluate_metric(CE["ce_weighted_f1"], [make_labels({})], [make_labels({})], ["p"])
    assert (weighted.value, weighted.unavailable) == (None, "undefined on these samples")
