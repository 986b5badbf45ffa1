from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from radialog_bench.metrics import ngrams, tokens
from radialog_bench.metrics.base import MetricError
from radialog_bench.metrics.lcs import lcs_length, lcs_lengths
from radialog_bench.metrics.ngrams import Vocabulary, ngram_matches
from radialog_bench.metrics.protocols import dotted_words, protocol_metrics, sentence_bleu2

lists = st.lists(st.sampled_from("abcdefg"), max_size=9)
pairs_of_lists = st.lists(st.tuples(lists, lists), min_size=1, max_size=7)
pieces = st.sampled_from(
    [
        *[
            "cannot",
            "gonna",
            "wanna ",
            "d'ye",
            "more'n",
            "can't",
            "'s",
            "the",
            "A",
            "No",
            "mm",
            "B.",
            "Dr.",
            "Mr.",
            "a.m.",
        ],
        *[
            "1.5",
            "3,4",
            "2.",
            ".",
            ",",
            "--",
            "..",
            "/",
            "-",
            ";",
            ":",
            "'",
            '"',
            "(",
            ")",
            "|||",
            "\n",
            "\t",
            " ",
            "  ",
        ],
        *[
            "\u2019",
            "\u00e9",
            "\u00b4",
            "\u0661",
            "U.S.",
            "e.g.",
            "?",
            "!",
            "...",
            "`",
            "&",
            "\u2013",
            "\u00a0",
            "\u2028",
        ],
    ]
)
plain_pieces = st.sampled_from(
    [
        "No",
        "edema",
        "Dr",
        "U",
        "S",
        "a",
        "m",
        "e",
        "g",
        "vs",
        "1",
        "25",
        "mm",
        "Heart",
        "is",
        "cannot",
        ".",
        ",",
        "-",
        "/",
        " ",
    ]
)
random_texts = (
    st.lists(plain_pieces, max_size=14).map("".join)
    | st.lists(pieces, max_size=12).map("".join)
    | st.lists(pieces, max_size=12).map(" ".join)
)


def nltk_words(text: str) -> list[str]:
    """NLTK's own classes with the same model and nothing remembered: what ``nltk.word_tokenize`` runs."""
    sentences = PunktSentenceTokenizer(tokens._tokenizers()[0]._params)
    return [word for sentence in sentences.tokenize(text) for word in NLTKWordTokenizer().tokenize(sentence)]


@settings(max_examples=300, deadline=None)
@given(random_texts)
def test_words_of_random_strings_are_nltks(text: str) -> None:
    assert tokens.word_tokenize(text) == nltk_words(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_words_of_any_unicode_are_nltks(text: str) -> None:
    assert tokens.word_tokenize(text) == nltk_words(text)


@pytest.mark.shared_data
def test_words_of_all_real_reports_are_nltks(shared_data: Path) -> None:
    from radialog_instruct.sources import open_source

    studies = open_source("iu-xray", shared_data / "iu_xray").studies()
    texts = {text for s in studies for text in (s.sections.findings, s.sections.impression) if text}
    assert len(texts) > 2000
    assert [text for text in texts if tokens.word_tokenize(text) != nltk_words(text)] == []


def test_long_sentences_are_not_remembered() -> None:
    text = "opacity " * 1000 + "cannot be excluded."
    assert tokens.word_tokenize(text) == nltk_words(text)


def test_a_text_that_nltk_gives_up_on_is_an_error_of_the_metric(monkeypatch) -> None:
    def give_up(text: str) -> None:
        raise TimeoutError

    monkeypatch.setattr(tokens._tokenizers()[0], "tokenize", give_up)
    with pytest.raises(MetricError, match="gave up on a text of 11 characters"):
        tokens.word_tokenize("!!!!!!!!!!!")


def counted(guess: list[str], truth: list[str]) -> list[int]:
    def grams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))

    return [sum((grams(guess, order) & grams(truth, order)).values()) for order in range(1, 5)]


def matches(guesses: list, truths: list) -> np.ndarray:
    vocabulary = Vocabulary()
    return ngram_matches(vocabulary.encode(guesses), vocabulary.encode(truths))


@given(pairs_of_lists)
def test_matches_are_those_of_counters(pairs: list[tuple[list[str], list[str]]]) -> None:
    guesses, truths = [g for g, _ in pairs], [t for _, t in pairs]
    assert matches(guesses, truths).tolist() == [counted(g, t) for g, t in pairs]


def test_a_rich_vocabulary_is_split_until_it_fits_and_counted_where_it_never_does(monkeypatch) -> None:
    monkeypatch.setattr(ngrams, "_PAIRS", 64)
    rich = [[f"{place}-{word}" for word in range(400)] for place in range(90)]
    shorter = [row[:-1] for row in rich]
    assert (matches(shorter, rich) == [399, 398, 397, 396]).all()
    huge = [[str(word) for word in range(40_000)]]
    assert matches(huge, huge).tolist() == [[40_000, 39_999, 39_998, 39_997]]


def test_nothing_and_empty_lists_match_nothing() -> None:
    assert matches([], []).shape == (0, 4)
    assert matches([[], ["a"]], [["a"], []]).tolist() == [[0] * 4] * 2
    empty = Vocabulary().encode([])
    assert lcs_lengths(empty, empty).tolist() == []


@given(pairs_of_lists)
def test_subsequences_of_many_pairs_are_those_of_each(pairs: list[tuple[list[str], list[str]]]) -> None:
    vocabulary = Vocabulary()
    first, second = vocabulary.encode([a for a, _ in pairs]), vocabulary.encode([b for _, b in pairs])
    assert lcs_lengths(first, second).tolist() == [lcs_length(a, b) for a, b in pairs]


@pytest.mark.parametrize("vocabulary_size", [2, 40])
def test_subsequences_of_lists_longer_than_a_machine_word(vocabulary_size: int) -> None:
    generator = np.random.default_rng(vocabulary_size)
    sizes = (0, 1, 63, 64, 65, 128, 200, 1030)
    rows = [[str(n) for n in generator.integers(vocabulary_size, size=size)] for size in sizes]
    pairs = [(a, b) for a in rows for b in rows]
    vocabulary = Vocabulary()
    first, second = vocabulary.encode([a for a, _ in pairs]), vocabulary.encode([b for _, b in pairs])
    assert lcs_lengths(first, second).tolist() == [lcs_length(a, b) for a, b in pairs]


texts = st.lists(st.sampled_from(["no", "Edema", "is", "seen.", "1.5", "nodules", "nodule,"]), max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts.filter(bool)), min_size=1, max_size=5))
def test_rexrank_is_the_mean_of_nltks_sentence_bleu(pairs: list[tuple[str, str]]) -> None:
    smooth = SmoothingFunction().method1
    expected = [
        sentence_bleu([dotted_words(t)], dotted_words(g), weights=(0.5, 0.5), smoothing_function=smooth)
        for g, t in pairs
    ]
    scores = sentence_bleu2([g for g, _ in pairs], [t for _, t in pairs])
    assert scores[:, 0] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_radeval_is_rouge_score_with_its_stemmer(pairs: list[tuple[str, str]]) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is not installed")
    kinds = {"rouge1_radeval": "rouge1", "rouge2_radeval": "rouge2", "rouge_l_radeval": "rougeL"}
    scorer = rouge_scorer.RougeScorer(list(kinds.values()), use_stemmer=True)
    scores = [scorer.score(truth, guess) for guess, truth in pairs]
    for metric in protocol_metrics("radeval")[4:]:
        ours = metric.statistics([g for g, _ in pairs], [t for _, t in pairs])[:, 0]
        assert ours == pytest.approx([score[kinds[metric.name]].fmeasure for score in scores], abs=1e-12)
