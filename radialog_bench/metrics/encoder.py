"""Contextual token embeddings of texts, as BERTScore uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radialog_bench.metrics.base import MetricError

if TYPE_CHECKING:
    from torch import Tensor, nn

_CPU_BUDGET, _GPU_BUDGET = 512, 16_384
"""Padded tokens in a batch; a processor's caches hold no more."""
_LAYERS = ("encoder.layer", "transformer.layer", "layers", "layer", "encoder.block")
"""Where the encoders of transformers keep their layers."""
_BYTE_LEVEL = ("RobertaTokenizer", "GPT2Tokenizer")


@dataclass(frozen=True)
class Embedded:
    """A text's tokens.

    Attributes:
        vectors: [tokens, width] unit vectors of all tokens, the markers of beginning and end among them.
        weights: [tokens] 1 for a token of the text, 0 for a marker.
    """

    vectors: Tensor
    weights: Tensor


class Encoder:
    """A pretrained encoder cut off after a layer.

    Args:
        model: Name on the Hub, or a local folder.
        layer: The layer whose output is used, counted from 1; 0 takes the input embeddings.
        device: A torch device; None takes a GPU where there is one.
        prefix_space: Whether a blank is put before each text, for tokenizers that tell a word at the start of a text
            from one inside it.

    Raises:
        MetricError: If torch or transformers is missing, or the model is not there or not of a known kind.
    """

    def __init__(self, model: str, layer: int, device: str | None = None, *, prefix_space: bool = False) -> None:
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise MetricError(f"{error.name} is not installed", mend='pip install "radialog[clinical]"') from error
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
            network = AutoModel.from_pretrained(model)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            mend = "download it once, or name a local folder with --bertscore-model"
            raise MetricError(f"the encoder {model} is not available ({reason})", mend=mend) from error
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _cut(network, layer, model).to(self._device).eval()
        self.prefixes = prefix_space and type(self._tokenizer).__name__ in _BYTE_LEVEL

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights that are used."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:12]

    def embed(self, texts: Sequence[str]) -> Iterator[tuple[str, Embedded]]:
        """Embed distinct texts, shortest first; not one of them may be blank."""
        import torch

        encoded = sorted(zip(texts, self._encode(texts), strict=True), key=lambda pair: len(pair[1]))
        budget = _GPU_BUDGET if self._device.startswith("cuda") else _CPU_BUDGET
        markers = {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}
        for batch in _batches(encoded, budget):
            ids = [torch.tensor(row) for _, row in batch]
            padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self._tokenizer.pad_token_id)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
            with torch.inference_mode():
                output = self._model(input_ids=padded.to(self._device), attention_mask=mask.to(self._device))
                vectors = torch.nn.functional.normalize(output[0].float(), dim=-1)
            for (text, row), vector in zip(batch, vectors, strict=True):
                weights = torch.tensor([float(token not in markers) for token in row], device=vector.device)
                yield text, Embedded(vector[: len(row)].clone(), weights)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        stripped = [f" {text.strip()}" if self.prefixes else text.strip() for text in texts]
        encoded = self._tokenizer(stripped, add_special_tokens=True, max_length=self._longest, truncation=True)
        rows: list[list[int]] = encoded["input_ids"]
        return rows

    @cached_property
    def _longest(self) -> int:
        """Tokens the model can take: RoBERTa's positions start after its padding's."""
        config = self._model.config
        positions = getattr(config, "max_position_embeddings", None) or self._tokenizer.model_max_length
        if "roberta" in str(getattr(config, "model_type", "")):
            positions -= self._tokenizer.pad_token_id + 1
        return int(min(positions, self._tokenizer.model_max_length))


def is_folder(model: str) -> bool:
    """Tell whether a model is named by a local folder."""
    return Path(model).is_dir()


def _cut(network: Any, layer: int, name: str) -> nn.Module:
    from torch import nn

    for path in _LAYERS:
        parent, _, attribute = path.rpartition(".")
        holder: Any = network
        if parent:
            holder = getattr(network, parent, None)
        layers = getattr(holder, attribute, None)
        if isinstance(layers, nn.ModuleList):
            if not 0 <= layer <= len(layers):
                raise MetricError(f"{name} has {len(layers)} layers, not {layer}", mend="choose another layer")
            setattr(holder, attribute, layers[:layer])
            cut: nn.Module = network
            return cut
    raise MetricError(
        f"{name} is no encoder BERTScore can cut ({type(network).__name__})", mend="use a BERT or RoBERTa"
    )


def _batches(encoded: list[tuple[str, list[int]]], budget: int) -> Iterator[list[tuple[str, list[int]]]]:
    """Yield runs of texts of rising length whose padded tokens stay within the budget."""
    batch: list[tuple[str, list[int]]] = []
    for pair in encoded:
        if batch and (len(batch) + 1) * len(pair[1]) > budget:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch
