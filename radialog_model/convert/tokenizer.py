"""The base model's tokenizer, exact to the published token ids, with the image placeholder added.

The original code splits a prompt at ``<image>`` and at special tokens and gives every piece a leading space, as
sentencepiece does (transformers' "legacy" behaviour). transformers 5 rebuilds a ``LlamaTokenizer`` without that, and
the user turn after ``</s>`` would begin with other tokens; a plain tokenizer object keeps what is stored.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from radialog_instruct.errors import ModelError, RadialogError, missing_extra
from radialog_model.convert.state import read_json
from radialog_model.prompts import IMAGE_TOKEN

SENTENCEPIECE = "tokenizer.model"
_LEADING_SPACE = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}


def llava_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of LLaVA-1.5 with the image placeholder as a special token.

    Args:
        folder: The base model's folder; it holds ``tokenizer.json`` or ``tokenizer.model``.

    Raises:
        ModelError: If there is no tokenizer, or it cannot be read.
        UsageError: If ``tokenizer.model`` is all there is and sentencepiece is not installed.
    """
    settings_file = folder / "tokenizer_config.json"
    settings = read_json(settings_file) if settings_file.is_file() else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_published(folder),
        bos_token=_content(settings.get("bos_token"), "<s>"),
        eos_token=_content(settings.get("eos_token"), "</s>"),
        unk_token=_content(settings.get("unk_token"), "<unk>"),
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    pad = _content(settings.get("pad_token"), "<unk>")
    tokenizer.pad_token = pad if pad in tokenizer.get_vocab() else "<unk>"
    return tokenizer


def _published(folder: Path) -> Tokenizer:
    stored, pieces = folder / "tokenizer.json", folder / SENTENCEPIECE
    if not stored.is_file() and not pieces.is_file():
        raise ModelError(
            f"neither tokenizer.json nor {SENTENCEPIECE}", where=str(folder), mend="download the whole folder"
        )
    try:
        return with_leading_space(Tokenizer.from_file(str(stored)) if stored.is_file() else _from_sentencepiece(folder))
    except RadialogError:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"the tokenizer cannot be read ({first})", where=str(folder), mend="download it again"
        ) from error


def _from_sentencepiece(folder: Path) -> Tokenizer:
    for package in ("sentencepiece", "google.protobuf"):
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise missing_extra(package, "convert") from error
    backend: Tokenizer = LlamaTokenizer.from_pretrained(folder).backend_tokenizer
    return backend


def with_leading_space(tokenizer: Tokenizer) -> Tokenizer:
    """Return a sentencepiece-like tokenizer that begins every piece between special tokens with a space.

    That is how Llama and Vicuna were trained; others come back as they are.
    """
    parts: dict[str, Any] = json.loads(tokenizer.to_str())
    if parts["model"]["type"] == "BPE" and parts["model"].get("byte_fallback"):
        parts["normalizer"], parts["pre_tokenizer"] = _LEADING_SPACE, None
    return Tokenizer.from_str(json.dumps(parts))


def _content(token: Any, default: str) -> str:
    if isinstance(token, dict):
        return str(token["content"])
    return str(token) if token else default
