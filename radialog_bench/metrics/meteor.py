"""METEOR 1.5, by the Java program that ships in the pip package pycocoevalcap.

The program aligns two texts by exact, stemmed, synonymous and paraphrased words and prints 23 counts. The corpus score
is a function of their sums, so the counts are the sufficient statistics and the score is computed here, equal to what
the program and pycocoevalcap report. The score is that of Denkowski and Lavie (2014) with the program's own English
defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radialog_bench.metrics.base import Floats, Metric, MetricError
from radialog_bench.metrics.meteor_program import Meteor, find_meteor
from radialog_bench.metrics.tokens import TOKENIZER_NAME, protocol_tokens

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
"""Weight of recall, power and weight of the fragmentation penalty, weight of content words."""
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""What a word matched exactly, by stem, by synonym and by paraphrase counts."""
COLUMNS = 23
_CHUNKS = 20
_REMEMBERED = 131072

SIGNATURE = f"meteor|protocol:radialog|tok:{TOKENIZER_NAME}|lower|meteor-1.5-en-norm|v1"


def meteor_metric() -> Metric[str]:
    """Return METEOR; its statistics raise ``MetricError`` where the program cannot run."""
    return Metric("meteor", SIGNATURE, meteor_statistics, meteor)


def why_no_meteor() -> str | None:
    """Return why METEOR cannot be computed here, or None if it can."""
    try:
        find_meteor()
    except MetricError as error:
        return str(error)
    return None


def meteor_statistics(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """Return [n, 23]: the program's counts for each pair.

    Columns: words of answer and reference; function words of both; for each kind of match, content words matched in
    answer and reference and function words matched in both; chunks; matched words of both. A pair whose words all match
    in one chunk has no fragments, so its chunks are 0.

    Raises:
        MetricError: If the program is not there, or died.
    """
    pairs = [(_line(guess), _line(truth)) for guess, truth in zip(predictions, references, strict=True)]
    missing = [pair for pair in dict.fromkeys(pairs) if pair not in _known]
    found = dict(zip(missing, map(_counts, _program().align(missing)), strict=True)) if missing else {}
    rows = [found[pair] if pair in found else _known[pair] for pair in pairs]
    if len(_known) + len(found) > _REMEMBERED:
        _known.clear()
    _known.update(found)
    return np.array(rows, dtype=np.float64).reshape(len(rows), COLUMNS)


def meteor(sums: Floats) -> Floats:
    """Return METEOR from summed counts.

    Args:
        sums: [..., 23], as ``meteor_statistics`` gives them, summed over samples.

    Returns:
        [...] in 0..1; 0 where nothing matches.
    """
    kinds = sums[..., 4:_CHUNKS].reshape(*sums.shape[:-1], len(WEIGHTS), 2, 2)
    content, function = kinds[..., 0, :], kinds[..., 1, :]
    matched = np.einsum("k,...ks->...s", WEIGHTS, DELTA * content + (1 - DELTA) * function)
    words, function_words = sums[..., 0:2], sums[..., 2:4]
    weighed = DELTA * (words - function_words) + (1 - DELTA) * function_words
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(matched / weighed, -1, 0)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragments = sums[..., _CHUNKS] / ((sums[..., _CHUNKS + 1] + sums[..., _CHUNKS + 2]) / 2)
        score = mean * (1 - GAMMA * fragments**BETA)
    scores: Floats = np.maximum(np.nan_to_num(score, nan=0.0), 0.0)
    return scores


_known: dict[tuple[str, str], tuple[float, ...]] = {}
"""Pairs of lines -> their counts: a second model, a ceiling or a repeated report asks for the same ones again."""
_programs: list[Meteor] = []


def close_meteor() -> None:
    """End the Java programs that were started; the next pair starts new ones."""
    while _programs:
        _programs.pop().close()


def _program() -> Meteor:
    if not _programs:
        _programs.append(Meteor(*find_meteor()))
    return _programs[0]


def _line(text: str) -> str:
    # The program's separator would cut a text in two; pycocoevalcap takes it out of answers in the same way.
    return " ".join(protocol_tokens(text)).replace("|||", "").replace("  ", " ")


def _counts(line: str) -> tuple[float, ...]:
    try:
        counts = [float(count) for count in line.split()]
    except ValueError:
        counts = []
    if len(counts) != COLUMNS:
        raise MetricError(f"the METEOR program answered {line[:80]!r} instead of {COLUMNS} counts")
    matches = np.array(counts[4:_CHUNKS]).reshape(len(WEIGHTS) * 2, 2).sum(axis=0)
    if counts[_CHUNKS] == 1 and matches[0] == counts[0] and matches[1] == counts[1]:
        counts[_CHUNKS] = 0.0
    return tuple(counts)
