"""CheXbert (Smit et al., 2020): a BERT with one head a finding, report text to 14 CheXpert labels.

Architecture and order of the heads are facts of the published checkpoint (``chexbert.pth``): the last hidden state of
``[CLS]`` goes through 13 linear heads of four classes (blank, positive, negative, uncertain) and one of two (blank,
positive) for "No Finding", which stands last. Labels are mapped by name to the project's order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radialog_instruct.errors import ModelError, UsageError, missing_extra
from radialog_instruct.files import file_sha256
from radialog_instruct.findings import NEGATIVE, POSITIVE, UNCERTAIN, Labels, LabelValue, make_labels

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import BertTokenizer

NAME = "chexbert"
HUB_REPO, HUB_FILE = "StanfordAIMI/RRG_scorers", "chexbert.pth"
HUB_VOCABULARY = "google-bert/bert-base-uncased"
HEADS: tuple[str, ...] = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
"""The findings in the order of the checkpoint's heads."""
CLASSES: tuple[LabelValue, ...] = (None, POSITIVE, NEGATIVE, UNCERTAIN)
"""What the classes of a head mean."""
MAX_TOKENS = 512
_CPU_BUDGET, _GPU_BUDGET = 512, 16_384
_HEAD_SIZE = 64
_IGNORED = re.compile(r"(?:^|\.)(?:position_ids|pooler\.dense\.(?:weight|bias))$")
"""Entries of published checkpoints that the labels do not depend on."""


@dataclass(frozen=True)
class _Encoded:
    """A distinct text as token ids, with its position among the distinct texts."""

    position: int
    ids: tuple[int, ...]


class ChexbertLabeler:
    """Labels texts with CheXbert's published weights.

    Args:
        checkpoint: ``chexbert.pth``; None takes it from the Hub repository StanfordAIMI/RRG_scorers.
        vocabulary: ``vocab.txt`` of bert-base-uncased or its folder; None takes it from the Hub.
        device: A torch device, or ``"auto"`` for a GPU where there is one.
        token_budget: Padded tokens in a batch; texts are sorted by length, so little of it is padding. None takes 512
            on a CPU, whose caches hold no more, and 16,384 on a GPU.

    Raises:
        UsageError: If torch or transformers is missing, or nothing can be downloaded.
        ModelError: If the checkpoint is not CheXbert's, or holds anything but tensors.
    """

    name = NAME

    def __init__(
        self,
        checkpoint: Path | None = None,
        vocabulary: Path | None = None,
        *,
        device: str = "auto",
        token_budget: int | None = None,
    ) -> None:
        try:
            import torch
            import transformers  # noqa: F401
        except ImportError as error:
            raise missing_extra(str(error.name), "clinical") from error
        self._checkpoint = checkpoint if checkpoint is not None else _download(HUB_REPO, HUB_FILE, "--checkpoint")
        self._tokenizer = load_tokenizer(vocabulary)
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._token_budget = token_budget or (_GPU_BUDGET if self._device.startswith("cuda") else _CPU_BUDGET)
        self._model, self._heads = load_checkpoint(self._checkpoint, len(self._tokenizer))
        self._model.to(self._device)
        self._heads.to(self._device)
        self._sha256 = file_sha256(self._checkpoint)

    def signature(self) -> str:
        """Return the labeler's name and the checkpoint's hash, as they stand in a metric's signature."""
        return f"{NAME}-{self._sha256[:12]}"

    def label_many(self, texts: Iterable[str]) -> list[Labels]:
        """Label texts, in their order; equal texts are labelled once.

        Args:
            texts: Reports, or sections of them. An empty one is labelled like any other, as CheXbert's own code does.
        """
        distinct: dict[str, int] = {}
        positions = [distinct.setdefault(cleaned(text), len(distinct)) for text in texts]
        labels: list[Labels] = [()] * len(distinct)
        for position, logits in self._run(list(distinct)):
            classes = [int(head.argmax()) for head in logits]
            labels[position] = make_labels({n: CLASSES[c] for n, c in zip(HEADS, classes, strict=True)})
        return [labels[position] for position in positions]

    def logits(self, texts: Sequence[str]) -> list[list[Tensor]]:
        """Return the raw scores of each text: 14 vectors of shape [4], the last of shape [2]."""
        scores: list[list[Tensor]] = [[]] * len(texts)
        for position, logits in self._run([cleaned(text) for text in texts]):
            scores[position] = logits
        return scores

    def _run(self, texts: Sequence[str]) -> Iterator[tuple[int, list[Tensor]]]:
        import torch

        encoded = [_Encoded(i, encode(self._tokenizer, text)) for i, text in enumerate(texts)]
        for batch in _batches(encoded, self._token_budget):
            length = max(len(text.ids) for text in batch)
            ids = torch.zeros(len(batch), length, dtype=torch.long)
            mask = torch.zeros(len(batch), length, dtype=torch.long)
            for row, text in enumerate(batch):
                ids[row, : len(text.ids)] = torch.tensor(text.ids)
                mask[row, : len(text.ids)] = 1
            gpu = self._device.startswith("cuda")
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=gpu):
                hidden = self._model(input_ids=ids.to(self._device), attention_mask=mask.to(self._device))
                first = hidden.last_hidden_state[:, 0]  # [batch, hidden]
                heads = [head(first).float().cpu() for head in self._heads]
            for row, text in enumerate(batch):
                yield text.position, [head[row] for head in heads]


def cleaned(text: str) -> str:
    """Prepare a text as CheXbert's own code does: strip it and fold all white space to single blanks."""
    return " ".join(text.split())


def encode(tokenizer: BertTokenizer, text: str) -> tuple[int, ...]:
    """Return a text's token ids with [CLS] and [SEP], cut to 512 of which the last is [SEP]."""
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)) if text else []
    assert isinstance(ids, list)
    return (tokenizer.cls_token_id, *ids[: MAX_TOKENS - 2], tokenizer.sep_token_id)


def load_tokenizer(vocabulary: Path | None) -> BertTokenizer:
    """Load BERT's uncased tokenizer.

    Args:
        vocabulary: ``vocab.txt`` or its folder; None takes it from the Hub.

    Raises:
        UsageError: If there is no such file, or it cannot be downloaded.
    """
    from transformers import BertTokenizer

    path = vocabulary if vocabulary is not None else _download(HUB_VOCABULARY, "vocab.txt", "--vocabulary")
    if path.is_dir():
        path = path / "vocab.txt"
    if not path.is_file():
        raise UsageError("no such vocabulary", where=str(path), mend="give vocab.txt of bert-base-uncased")
    words = {word.rstrip("\n"): i for i, word in enumerate(path.open(encoding="utf-8"))}
    missing = [token for token in ("[CLS]", "[SEP]", "[PAD]", "[UNK]") if token not in words]
    if missing:
        raise UsageError(f"{missing[0]} is not in the vocabulary", where=str(path), mend="give BERT's own vocab.txt")
    return BertTokenizer(vocab=words, do_lower_case=True)


def load_checkpoint(path: Path, vocabulary_size: int) -> tuple[nn.Module, nn.ModuleList]:
    """Load encoder and heads from a checkpoint in the published format.

    Args:
        path: The file: ``{"model_state_dict": {"module.bert.…", "module.linear_heads.0.weight", …}}``.
        vocabulary_size: Size of the tokenizer's vocabulary, which must be the checkpoint's.

    Raises:
        ModelError: If the file is missing, holds anything but tensors, or lacks a weight.
    """
    from torch import nn
    from transformers import BertConfig, BertModel

    weights = _weights(path)
    try:
        rows, hidden = weights["bert.embeddings.word_embeddings.weight"].shape
        positions = weights["bert.embeddings.position_embeddings.weight"].shape[0]
        inner = weights["bert.encoder.layer.0.intermediate.dense.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ModelError(f"not a CheXbert checkpoint: {error} is missing", where=str(path)) from error
    if rows != vocabulary_size:
        what, mend = f"it knows {rows} tokens, the vocabulary {vocabulary_size}", "give bert-base-uncased's vocabulary"
        raise ModelError(what, where=str(path), mend=mend)
    layers = {int(match[1]) for name in weights if (match := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))}
    config = BertConfig(
        vocab_size=rows,
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=max(hidden // _HEAD_SIZE, 1),
        intermediate_size=inner,
        max_position_embeddings=positions,
    )
    model = BertModel(config, add_pooling_layer=False)
    heads = nn.ModuleList([nn.Linear(hidden, 2 if name == "No Finding" else len(CLASSES)) for name in HEADS])
    whole = nn.ModuleDict({"bert": model, "linear_heads": heads})
    try:
        result = whole.load_state_dict({k: v for k, v in weights.items() if not _IGNORED.search(k)}, strict=False)
    except RuntimeError as error:
        raise ModelError(f"not a CheXbert checkpoint: {error}", where=str(path)) from error
    missing = [name for name in result.missing_keys if not _IGNORED.search(name)]
    if missing or result.unexpected_keys:
        what = f"{missing[0]} is missing" if missing else f"{result.unexpected_keys[0]} is unknown"
        raise ModelError(f"not a CheXbert checkpoint: {what}", where=str(path), mend="fetch chexbert.pth again")
    whole.eval()
    for parameter in whole.parameters():
        parameter.requires_grad_(False)
    return model, heads


def _weights(path: Path) -> Mapping[str, Tensor]:
    import pickle
    import zipfile

    import torch

    if not path.is_file():
        raise ModelError("no such checkpoint", where=str(path), mend=f"give {HUB_FILE} of {HUB_REPO}")
    try:
        # weights_only refuses every pickle that would run code.
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, OSError) as error:
        reason = str(error).splitlines()[0]
        mend = "it is damaged, or a pickle that would run code, which is refused; fetch it again"
        raise ModelError(f"cannot load the weights: {reason}", where=str(path), mend=mend) from error
    state = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise ModelError("no model_state_dict in the checkpoint", where=str(path), mend="give CheXbert's own file")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _batches(encoded: Sequence[_Encoded], budget: int) -> Iterator[list[_Encoded]]:
    """Group texts of similar length so that padded tokens stay within the budget; the longest come first."""
    batch: list[_Encoded] = []
    for text in sorted(encoded, key=lambda e: (-len(e.ids), e.position)):
        # The first of a batch is its longest, so it sets the width.
        if batch and len(batch[0].ids) * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _download(repo: str, name: str, option: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, name))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        mend = f"connect to the Hub once, or give the file with {option}"
        raise UsageError(f"{name} of {repo} is not here and cannot be downloaded", where=option, mend=mend) from error
