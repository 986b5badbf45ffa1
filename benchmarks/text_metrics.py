"""BLEU, ROUGE-L, METEOR and BERTScore: this project against pycocoevalcap and bert-score, in the same run.

3,858 pairs are made from Open-i findings: another study's report, words dropped. A second model then answers the same
references. METEOR, which is a matter of machines side by side, is measured in seconds on the wall; the others, single
threads on both sides, in processor seconds.

python benchmarks/text_metrics.py ../shared/data/iu_xray ENCODER LAYER OUTPUT.json [PAIRS [BERTSCORE_PAIRS]]
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bert_score
import torch
from bert_score import BERTScorer
from machine import describe
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from radialog_bench.metrics import lexical, meteor, tokens
from radialog_bench.metrics.base import Metric
from radialog_bench.metrics.bertscore import BertScore, BertScoreSettings
from radialog_instruct.sources import open_source

PAIRS = 3858
REPEATS = 3
BASELINE = Path(bert_score.__file__).parent / "rescale_baseline" / "en" / "distilroberta-base.tsv"


def timed(action: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[float, Any]:
    start = clock()
    result = action()
    return clock() - start, result


def best(action: Callable[[], Any]) -> tuple[float, Any]:
    return min((timed(action) for _ in range(REPEATS)), key=lambda pair: pair[0])


def made_pairs(root: Path, count: int) -> tuple[list[str], list[list[str]]]:
    """Return references, and the answers of two models."""
    chance = random.Random(0)

    def changed(text: str, drop: float) -> str:
        return " ".join(word for word in text.split() if chance.random() >= drop) or text

    findings = [study.sections.findings for study in open_source("iu-xray", root).studies() if study.sections.findings]
    references = (findings + [changed(text, 0.05) for text in findings])[:count]

    def answer(place: int, shift: int, drop: float) -> str:
        source = (place + shift) % count if place % 2 else place
        return changed(references[source], drop)

    answers = [[answer(place, *how) for place in range(count)] for how in ((7, 0.1), (11, 0.15))]
    return references, answers


def value(metric: Metric[str], answers: list[str], references: list[str]) -> float:
    return float(metric.value(metric.statistics(answers, references).sum(0)))


def plain_tokens(texts: list[str]) -> list[str]:
    """Tokenize as NLTK does, text by text, with nothing remembered."""
    sentences = PunktSentenceTokenizer(tokens._tokenizers()[0]._params)
    words = NLTKWordTokenizer()
    lists = [[word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)] for text in texts]
    return [" ".join(row).lower() for row in lists]


def lexical_row(references: list[str], answers: list[list[str]]) -> dict[str, Any]:
    """BLEU-1 to 4 and ROUGE-L: from tokens alone, and from texts."""

    def forget(tokens_too: bool) -> None:
        remembered = lexical.RADIALOG._tokenize
        lexical.RADIALOG = lexical.Overlap(tokens.protocol_tokens)
        if tokens_too:
            tokens._remembered_words.cache_clear()
            tokens._tokenizers()[0]._remembered.cache_clear()
        else:
            lexical.RADIALOG._tokenize = remembered

    def ours(guesses: list[str]) -> list[float]:
        return [value(metric, guesses, references) for metric in lexical.lexical_metrics()]

    def from_texts() -> list[float]:
        forget(tokens_too=True)
        return ours(answers[0])

    def from_tokens() -> list[float]:
        forget(tokens_too=False)
        return ours(answers[0])

    def second() -> list[float]:
        from_texts()
        seconds.append(timed(lambda: ours(answers[1]))[0])
        return []

    seconds: list[float] = []
    our_texts, values = best(from_texts)
    our_tokens, _ = best(from_tokens)
    best(second)
    peer_tokens, lines = timed(lambda: (plain_tokens(references), plain_tokens(answers[0])))
    truths, guesses = ({i: [line] for i, line in enumerate(side)} for side in lines)

    def theirs() -> list[float]:
        bleu = Bleu(4).compute_score(truths, guesses, verbose=0)[0]
        return [*bleu, float(Rouge().compute_score(truths, guesses)[0])]

    peer, expected = best(theirs)
    return {
        **row(our_texts, peer_tokens + peer, max(abs(a - b) for a, b in zip(values, expected, strict=True))),
        "from_tokens": {"ours": round(our_tokens, 3), "peer": round(peer, 3), "ratio": round(peer / our_tokens, 2)},
        "second_model": round(min(seconds), 3),
    }


def meteor_row(references: list[str], answers: list[list[str]]) -> dict[str, Any]:
    """METEOR 1.5, machines' start included on both sides."""
    metric = meteor.meteor_metric()
    joined = {text: " ".join(tokens.protocol_tokens(text)) for text in {*references, *answers[0], *answers[1]}}

    def theirs() -> float:
        truths, guesses = ({i: [joined[t]] for i, t in enumerate(side)} for side in (references, answers[0]))
        return float(Meteor().compute_score(truths, guesses)[0])

    ours, score = timed(lambda: value(metric, answers[0], references), time.perf_counter)
    second = timed(lambda: value(metric, answers[1], references), time.perf_counter)[0]
    meteor.close_meteor()
    peer, expected = timed(theirs, time.perf_counter)
    return {**row(ours, peer, abs(score - expected)), "second_model": round(second, 3)}


def bertscore_row(encoder: str, layer: int, references: list[str], answers: list[list[str]]) -> dict[str, Any]:
    """BERTScore's F, loading left out on both sides."""
    torch.set_num_threads(1)
    scorer = BertScore(BertScoreSettings(model=encoder, layer=layer, baseline=str(BASELINE), device="cpu"))
    options = {"lang": "en", "rescale_with_baseline": True, "baseline_path": str(BASELINE), "device": "cpu"}
    theirs = BERTScorer(model_type=encoder, num_layers=layer, **options)
    ours, scores = timed(lambda: scorer.score(answers[0], references))
    second = timed(lambda: scorer.score(answers[1], references))[0]
    peer, (_, _, expected) = timed(lambda: theirs.score(answers[0], references))
    difference = max(abs(a - b) for a, b in zip(scores[:, 2].tolist(), expected.tolist(), strict=True))
    return {**row(ours, peer, difference), "second_model": round(second, 3), "encoder": scorer.signature}


def row(ours: float, peer: float, difference: float) -> dict[str, Any]:
    return {
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": round(peer / ours, 2),
        "largest_difference": difference,
    }


def main(root: Path, encoder: str, layer: int, output: Path, count: int = PAIRS, embedded: int | None = None) -> None:
    """Measure and write the result."""
    references, answers = made_pairs(root, count)
    fewer = references[:embedded], [side[:embedded] for side in answers]
    rows = {"bleu_and_rouge_l": lexical_row(references, answers), "meteor": meteor_row(references, answers)}
    rows["bertscore"] = bertscore_row(encoder, layer, *fewer) | {"pairs": len(fewer[0])}
    first, second = (sum(entry[key] for entry in rows.values()) for key in ("ours", "second_model"))
    result = {
        "pairs": count,
        "seconds": rows,
        "second_model_ratio": round(first / second, 2),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "machine": describe(),
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6, 7):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), *map(int, sys.argv[5:]))
