"""BERTScore (Zhang et al., 2020), equal to the package bert-score at 1e-5 and a little faster.

Each token of the answer is matched with its most similar token of the reference and the other way round; precision,
recall and F are the means of these cosines. Without rescaling most pairs score above 0.8, so they are rescaled by what
random pairs of sentences score, the baseline. An empty text scores 0 before rescaling, where bert-score crashes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radialog_bench.metrics.base import Floats, Metric, MetricError
from radialog_bench.metrics.encoder import Embedded, Encoder, is_folder
from radialog_bench.metrics.lexical import mean, with_count

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_MODEL = "distilroberta-base"
LAYERS = {DEFAULT_MODEL: 5}
"""The layers bert-score takes by itself, chosen by its authors on translations."""
NO_BASELINE = "none"
_BLOCK = 2048
"""Pairs whose embeddings are held at a time."""
_MATCHED = 64
"""Pairs matched at a time."""
_REFERENCE_BYTES = 2 << 30
"""Reference embeddings that are kept for the next model."""
_REMEMBERED = 131_072


@dataclass(frozen=True)
class BertScoreSettings:
    """How BERTScore is computed; the defaults are the paper's.

    Attributes:
        model: Name of the encoder on the Hub, or a local folder.
        layer: Layer whose output is used; None takes bert-score's choice where the model's name has one.
        baseline: A tab-separated or comma-separated file of bert-score's form, the name of one in its package, or
            ``"none"``; None takes the one named like the model.
        device: A torch device; None takes a GPU where there is one.
        prefix_space: Whether a blank is put before each text. bert-score asks for it with RoBERTa, but transformers 5
            ignores the request; False is therefore equal to bert-score on transformers 5, True to what it was before.
    """

    model: str = DEFAULT_MODEL
    layer: int | None = None
    baseline: str | None = None
    device: str | None = None
    prefix_space: bool = False


def bertscore_metric(settings: BertScoreSettings | None = None) -> tuple[Metric[str], str | None]:
    """Return BERTScore's F and, where it cannot be computed, why."""
    settings = settings or BertScoreSettings()
    try:
        scorer = open_bertscore(settings)
    except MetricError as error:
        return Metric("bertscore", _signature(settings), partial(_statistics, settings), mean), str(error)
    return Metric("bertscore", scorer.signature, scorer.statistics, mean), None


@lru_cache(maxsize=2)
def open_bertscore(settings: BertScoreSettings) -> BertScore:
    """Load the encoder and the baseline; the same settings share one scorer and what it remembers.

    Raises:
        MetricError: If one of them is not there.
    """
    return BertScore(settings)


class BertScore:
    """Scores pairs of texts.

    Args:
        settings: How.

    Attributes:
        signature: Encoder, layer, baseline and the version that tokenizes.

    Raises:
        MetricError: If torch, the encoder or the baseline is not there.
    """

    def __init__(self, settings: BertScoreSettings) -> None:
        layer = _layer(settings)
        self._baseline, mark = _read_baseline(settings, layer)
        self._encoder = Encoder(settings.model, layer, settings.device, prefix_space=settings.prefix_space)
        name = Path(settings.model).name if is_folder(settings.model) else settings.model
        prefix = "|prefix-space" if self._encoder.prefixes else ""
        # Tokens depend on the tokenizer's major version.
        major = version("transformers").split(".")[0]
        encoder = f"{name}@{self._encoder.fingerprint}|layer:{layer}|baseline:{mark}|no-idf{prefix}"
        self.signature = f"bertscore|{encoder}|transformers:{major}|v1"
        self._references: dict[str, Embedded] = {}
        self._known: dict[tuple[str, str], tuple[float, float, float]] = {}

    def statistics(self, predictions: Sequence[str], references: Sequence[str]) -> Floats:
        """Return [n, 2]: the sample's rescaled F and a one to count it."""
        return with_count(self.score(predictions, references)[:, 2])

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> Floats:
        """Return [n, 3]: rescaled precision, recall and F of each pair."""
        pairs = list(zip(predictions, references, strict=True))
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        found: dict[tuple[str, str], tuple[float, float, float]] = {}
        for start in range(0, len(missing), _BLOCK):
            found |= self._score_block(missing[start : start + _BLOCK])
        raw = np.array([found[pair] if pair in found else self._known[pair] for pair in pairs]).reshape(-1, 3)
        if len(self._known) + len(found) > _REMEMBERED:
            self._known.clear()
        self._known |= found
        rescaled: Floats = (raw - self._baseline) / (1 - self._baseline)
        return rescaled

    def _score_block(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[float, float, float]]:
        scores: dict[tuple[str, str], tuple[float, float, float]] = {
            pair: (0.0, 0.0, 0.0) for pair in pairs if not (pair[0].strip() and pair[1].strip())
        }
        spoken = [pair for pair in pairs if pair not in scores]
        self._learn(sorted({truth for _, truth in spoken} - self._references.keys()))
        guesses = dict(self._encoder.embed(sorted({guess for guess, _ in spoken} - self._references.keys())))
        known = guesses | self._references
        spoken.sort(key=lambda pair: (len(known[pair[0]].weights), len(known[pair[1]].weights)))
        for start in range(0, len(spoken), _MATCHED):
            batch = spoken[start : start + _MATCHED]
            found = _match([known[guess] for guess, _ in batch], [known[truth] for _, truth in batch])
            scores |= dict(zip(batch, found, strict=True))
        return scores

    def _learn(self, references: list[str]) -> None:
        self._references |= dict(self._encoder.embed(references))
        size = sum(embedded.vectors.nbytes for embedded in self._references.values())
        kept = set(references)
        for text in [text for text in self._references if text not in kept]:
            if size <= _REFERENCE_BYTES:
                break
            size -= self._references.pop(text).vectors.nbytes


def _match(guesses: list[Embedded], truths: list[Embedded]) -> Iterator[tuple[float, float, float]]:
    """Yield precision, recall and F of each pair before rescaling."""
    import torch

    left, left_weights, left_mask = _padded(guesses)
    right, right_weights, right_mask = _padded(truths)
    with torch.inference_mode():
        cosines = left @ right.transpose(1, 2)  # [pairs, tokens of the answer, tokens of the reference]
        nearest = cosines.masked_fill(~right_mask[:, None, :], -2).amax(dim=2)
        precision = (nearest * left_weights).sum(1) / left_weights.sum(1)
        nearest = cosines.masked_fill(~left_mask[:, :, None], -2).amax(dim=1)
        recall = (nearest * right_weights).sum(1) / right_weights.sum(1)
        # A text of markers alone has no tokens to average over: 0/0, which counts as 0.
        both = torch.stack((precision, recall)).nan_to_num(nan=0.0)
        both[:, (left_weights.sum(1) == 0) | (right_weights.sum(1) == 0)] = 0
        f_score = (2 * both.prod(0) / both.sum(0)).nan_to_num(nan=0.0)
    yield from map(tuple, torch.stack((both[0], both[1], f_score), dim=1).tolist())


def _padded(texts: list[Embedded]) -> tuple[Tensor, Tensor, Tensor]:
    from torch import ones_like
    from torch.nn.utils.rnn import pad_sequence

    vectors = pad_sequence([text.vectors for text in texts], batch_first=True)
    weights = pad_sequence([text.weights for text in texts], batch_first=True)
    return vectors, weights, pad_sequence([ones_like(text.weights) for text in texts], batch_first=True) > 0


def _layer(settings: BertScoreSettings) -> int:
    layer = settings.layer if settings.layer is not None else LAYERS.get(settings.model)
    if layer is None:
        raise MetricError(
            f"BERTScore takes the tokens from one layer of {settings.model}, and which is not known",
            mend="name the layer with --bertscore-layer",
        )
    return layer


def _read_baseline(settings: BertScoreSettings, layer: int) -> tuple[Floats, str]:
    """Return the baseline of precision, recall and F, and how it stands in the signature."""
    name = settings.baseline or settings.model
    if name == NO_BASELINE:
        return np.zeros(3), NO_BASELINE
    file = Path(name) if settings.baseline and Path(name).is_file() else _packaged(name)
    data = file.read_bytes()
    rows = [line.replace("\t", ",").split(",") for line in data.decode().splitlines()[1:] if line.strip()]
    try:
        values = np.array([float(cell) for cell in rows[layer][1:4]], dtype=np.float32).astype(np.float64)
    except (IndexError, ValueError) as error:
        raise MetricError(f"no baseline for layer {layer}", where=str(file), mend="give another file") from error
    if values.shape != (3,):
        raise MetricError("a baseline has the columns LAYER, P, R and F", where=str(file), mend="give another file")
    return values, f"{file.stem}@{hashlib.sha256(data).hexdigest()[:8]}"


def _packaged(name: str) -> Path:
    package = importlib.util.find_spec("bert_score")
    if package is None:
        raise MetricError(
            "BERTScore's baselines are not installed; they ship in the package bert-score",
            mend='pip install "radialog[clinical]"',
        )
    for folder in package.submodule_search_locations or ():
        file = Path(folder, "rescale_baseline", "en", f"{name}.tsv")
        if file.is_file():
            return file
    raise MetricError(
        f"bert-score ships no baseline for {name}",
        mend="give a file with --bertscore-baseline, or none to leave scores unrescaled",
    )


def _statistics(settings: BertScoreSettings, predictions: Sequence[str], references: Sequence[str]) -> Floats:
    return open_bertscore(settings).statistics(predictions, references)


def _signature(settings: BertScoreSettings) -> str:
    path = is_folder(settings.model) or settings.model.startswith(("/", "~", "."))
    name = Path(settings.model).name if path else settings.model
    return f"bertscore|{name}|not-available"
