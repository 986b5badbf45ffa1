"""BERT's weights for the query transformer, and the names both share with the published code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, BertForMaskedLM, Blip2QFormerConfig

from radialog_instruct.errors import ModelError
from radialog_model.align.stage1 import AlignStage1Model

_PREFIXES = {
    "query_transformer.qformer.encoder.": "bert.encoder.",
    "query_transformer.qformer.layernorm.": "bert.embeddings.LayerNorm.",
    "text_embeddings.words.": "bert.embeddings.word_embeddings.",
    "text_embeddings.positions.": "bert.embeddings.position_embeddings.",
    "language_head.dense.": "cls.predictions.transform.dense.",
    "language_head.norm.": "cls.predictions.transform.LayerNorm.",
    "language_head.bias": "cls.predictions.bias",
}
_SHARED_FIELDS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "layer_norm_eps"),
    *("initializer_range", "pad_token_id"),
)
_QUERY_BRANCH = {".intermediate_query.": ".intermediate.", ".output_query.": ".output."}


def bert_style_name(name: str) -> str | None:
    """Return the name of one of our tensors in BERT's style, or None where BERT's style has none for it.

    It is the name in the published query transformer, without its ``Qformer.`` in front.

    Args:
        name: Name in ``AlignStage1Model``.
    """
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return None
    renamed = _PREFIXES[prefix] + name.removeprefix(prefix)
    return renamed.replace("attention.attention.", "attention.self.")


@dataclass(frozen=True)
class BertReport:
    """What came of a BERT checkpoint.

    Attributes:
        taken: Number of our tensors that were filled.
        random: Our tensors of the layers that BERT has nothing for: cross-attention, new rows.
        unused: BERT's tensors that nothing took.
    """

    taken: int
    random: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.taken} tensors from BERT; not in BERT and random: {len(self.random)} "
            f"({', '.join(sorted({_kind(name) for name in self.random}))}); not taken from BERT: "
            f"{', '.join(self.unused) or 'nothing'}"
        )


def bert_shape(bert: str, **changes: Any) -> Blip2QFormerConfig:
    """Return the shape of a query transformer that a BERT checkpoint fits.

    Args:
        bert: Folder or Hub repository.
        **changes: Fields that differ from BERT's, such as ``encoder_hidden_size`` and ``vocab_size``.

    Raises:
        ModelError: If it is no BERT.
    """
    try:
        config = AutoConfig.from_pretrained(bert)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"no configuration can be loaded ({first})", where=bert, mend="give a BERT") from error
    if config.model_type != "bert":
        raise ModelError(f"the checkpoint is of the kind {config.model_type!r}", where=bert, mend="give a BERT")
    shared = {name: getattr(config, name) for name in _SHARED_FIELDS}
    made = Blip2QFormerConfig(**{**shared, "use_qformer_text_input": True, **changes})
    made.vocab_size = max(made.vocab_size, config.vocab_size)  # BERT may have more rows than its tokenizer has tokens
    return made


@torch.no_grad()
def initialise_from_bert(model: AlignStage1Model, bert: str) -> BertReport:
    """Fill self-attention, feed-forward networks, embeddings and prediction head from a BERT checkpoint.

    The queries' feed-forward networks begin as copies of the text's, as in BLIP-2.

    Args:
        model: Filled in place; its sizes must be BERT's, its vocabulary may be larger.
        bert: Folder or Hub repository.

    Raises:
        ModelError: If a tensor does not fit.
    """
    loaded: Any = BertForMaskedLM.from_pretrained(bert, output_loading_info=True, dtype=torch.float32)
    source, missing = loaded[0].state_dict(), set(loaded[1]["missing_keys"])
    taken, random = set(), []
    for name, tensor in model.state_dict().items():
        if name.startswith("vision_tower."):
            continue
        wanted = bert_style_name(name) or ""
        for ours, theirs in _QUERY_BRANCH.items():
            wanted = wanted.replace(ours, theirs)
        value = None if wanted in missing else source.get(wanted)
        if value is None:
            random.append(name)
            continue
        _copy(tensor, value, name, bert)
        taken.add((name, wanted))
    used = {wanted for _, wanted in taken} | {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    unused = (*sorted(source.keys() - used - missing), *sorted(loaded[1]["unexpected_keys"]))
    return BertReport(len(taken), tuple(random), unused)


def _copy(tensor: Tensor, value: Tensor, name: str, where: str) -> None:
    rows = len(value)
    longer = len(tensor) > rows and name.startswith(("text_embeddings.words", "language_head.bias"))
    if tensor.shape[1:] != value.shape[1:] or (len(tensor) != rows and not longer):
        raise ModelError(
            f"{name} is {list(tensor.shape)}, BERT's is {list(value.shape)}", where=where, mend="other sizes"
        )
    tensor[:rows].copy_(value)


def _kind(name: str) -> str:
    for kind in ("crossattention", "projection", "matching_head", "queries", "temperature", "norm", "neck"):
        if kind in name:
            return kind
    return name
