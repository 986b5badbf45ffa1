"""Reports as the query transformer's text branch reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from radialog_instruct.errors import ModelError
from radialog_model.processing import BOS, EOS, PAD, train_tokenizer

CLASS_TOKEN, DECODER_TOKEN = "[CLS]", "[DEC]"


@dataclass(frozen=True)
class TextBatch:
    """Tokenized reports.

    Attributes:
        ids: [batch, tokens], beginning with the class token, padded on the right.
        mask: [batch, tokens], 1 for a token and 0 for padding.
    """

    ids: Tensor
    mask: Tensor


def bert_tokenizer(bert: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a BERT checkpoint, with the mark that begins a report to be written.

    Args:
        bert: Folder or Hub repository.

    Raises:
        ModelError: If it cannot be loaded or has no class and end tokens.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(bert)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"no tokenizer can be loaded ({first})", where=bert, mend="give the folder of a BERT"
        ) from error
    if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id):
        raise ModelError("the tokenizer has no [CLS], [SEP] or [PAD]", where=bert, mend="give the folder of a BERT")
    tokenizer.add_special_tokens({"bos_token": DECODER_TOKEN})
    return tokenizer


def report_tokenizer(reports: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Train a tokenizer on reports, with the marks that BERT's has."""
    tokenizer = train_tokenizer(reports, vocab_size)
    tokenizer.add_special_tokens({"cls_token": CLASS_TOKEN, "sep_token": EOS, "pad_token": PAD, "bos_token": BOS})
    return tokenizer


def encode_reports(tokenizer: PreTrainedTokenizerBase, reports: Iterable[str], max_length: int) -> TextBatch:
    """Tokenize reports; what goes beyond ``max_length`` tokens is cut off.

    Args:
        tokenizer: From ``bert_tokenizer`` or ``report_tokenizer``.
        reports: The texts.
        max_length: Most tokens, class and end token included.
    """
    rows = []
    for text in reports:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][: max_length - 2]
        rows.append([tokenizer.cls_token_id, *ids, tokenizer.sep_token_id])
    length = max(len(row) for row in rows)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return TextBatch(ids, (torch.arange(length)[None] < lengths[:, None]).long())
