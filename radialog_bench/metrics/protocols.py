"""BLEU and ROUGE as other benchmarks compute them, under names of their own.

The same four pairs of reports score a BLEU-4 of 0.38 or 0.19 depending on who counts, so a number without its protocol
means little. ``radialog`` is the default and bears the plain names; these stand beside it:

- ``radeval`` (RadEval 2.2): the same corpus BLEU over words split at white space, case and punctuation kept; ROUGE-1,
  2 and L as rouge-score computes them, F1 over Porter stems.
- ``rexrank`` (ReXrank, by CXR-Report-Metric): the mean over samples of sentence BLEU-2 with Chen and Cherry's first
  smoothing, over lower-cased words split at blanks, full stops apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, Literal

import numpy as np

from radialog_bench.metrics.base import Floats, Metric
from radialog_bench.metrics.lexical import Overlap, bleu, lexical_metrics, mean, with_count
from radialog_bench.metrics.ngrams import ORDERS
from radialog_instruct.errors import UsageError

Protocol = Literal["radialog", "radeval", "rexrank"]

_NOT_WORD = re.compile("[^a-z0-9]+")
_STEMMED_FROM = 4
"""Letters of the shortest word that rouge-score stems."""
_EPSILON = 0.1
"""What a missing match counts as in Chen and Cherry's first smoothing."""


def protocol_metrics(protocol: str) -> tuple[Metric[str], ...]:
    """Return BLEU and ROUGE in a protocol.

    Args:
        protocol: One of ``PROTOCOLS``.

    Raises:
        UsageError: If there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"no protocol {protocol!r}", where="--protocols", mend=f"choose from: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol]()


def stemmed_words(text: str) -> list[str]:
    """Tokenize as rouge-score does with its stemmer on."""
    stems = (_stem(word) if len(word) >= _STEMMED_FROM else word for word in _NOT_WORD.sub(" ", text.lower()).split())
    return [stem for stem in stems if stem]


def dotted_words(text: str) -> list[str]:
    """Tokenize as CXR-Report-Metric does for BLEU: lower case, split at blanks, full stops apart."""
    return [word for word in text.lower().replace(".", " .").split(" ") if word]


RAW = Overlap(str.split)
STEMMED = Overlap(stemmed_words)
DOTTED = Overlap(dotted_words)


def stemmed_rouge(predictions: Sequence[str], references: Sequence[str], order: int | None) -> Floats:
    """Return [n, 2]: the sample's F1 and a one.

    Args:
        predictions: n texts.
        references: n texts.
        order: Order of the n-grams, or None for the longest common subsequence.
    """
    if order is None:
        common, guesses, truths = STEMMED.common(predictions, references).T
    else:
        counts = STEMMED.bleu_statistics(predictions, references)
        common, guesses = counts[:, order - 1], counts[:, ORDERS + order - 1]
        truths = np.maximum(0, counts[:, -1] - order + 1)
    precision, recall = common / np.maximum(guesses, 1), common / np.maximum(truths, 1)
    scores = 2 * precision * recall / np.where(common > 0, precision + recall, 1)
    return with_count(scores)


def sentence_bleu2(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """Return [n, 2]: the sample's BLEU-2, smoothed where no bigram matches, and a one."""
    counts = DOTTED.bleu_statistics(predictions, references)
    matches, guesses, lengths = counts[:, :2], np.maximum(counts[:, ORDERS : ORDERS + 2], 1), counts[:, -2:]
    precisions = np.where(matches > 0, matches, _EPSILON) / guesses
    penalty = np.exp(np.minimum(0, 1 - lengths[:, 1] / np.maximum(lengths[:, 0], 1)))
    scores = np.where(matches[:, 0] > 0, penalty * np.sqrt(precisions.prod(axis=1)), 0.0)
    return with_count(scores)


def _radeval() -> tuple[Metric[str], ...]:
    words, stems = "protocol:radeval|tok:white-space|cased|v1", "protocol:radeval|tok:rouge-score|porter|f1|v1"
    bleus = [
        Metric(f"bleu{n}_radeval", f"bleu{n}|{words}", RAW.bleu_statistics, partial(bleu, order=n))
        for n in range(1, ORDERS + 1)
    ]
    orders: dict[str, int | None] = {"rouge1": 1, "rouge2": 2, "rouge_l": None}
    rouges = [
        Metric(f"{name}_radeval", f"{name}|{stems}", partial(stemmed_rouge, order=order), mean)
        for name, order in orders.items()
    ]
    return (*bleus, *rouges)


def _rexrank() -> tuple[Metric[str], ...]:
    signature = "bleu2|protocol:rexrank|tok:blanks-and-stops|lower|smooth:method1|mean-of-samples|v1"
    return (Metric("bleu2_rexrank", signature, sentence_bleu2, mean),)


PROTOCOLS: dict[str, Callable[[], tuple[Metric[str], ...]]] = {
    "radialog": lexical_metrics,
    "radeval": _radeval,
    "rexrank": _rexrank,
}
"""Protocol -> its metrics; the first is the default."""


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@lru_cache(maxsize=65536)
def _stem(word: str) -> str:
    return str(_stemmer().stem(word))
