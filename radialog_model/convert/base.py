"""The language model an adapter was trained on: LLaVA-1.5 in either form, or a language model alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from radialog_instruct.errors import ModelError
from radialog_model.convert.state import State, read_folder, read_json
from radialog_model.validation import check_fit

_LLAMA_FIELDS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling"),
    *("attention_bias", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
"""What a configuration of the original LLaVA code says about its Llama; the rest is about images and training."""

_RENAMES = (
    (re.compile(r"^(model\.)?language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^language_model\.model\."), "model.language_model."),
    (re.compile(r"^model\.(?=embed_tokens\.|layers\.|norm\.)"), "model.language_model."),
)
_KEPT = ("model.language_model.", "lm_head.")
_HASHED_VALUES = 256
"""Values of each tensor that go into a fingerprint."""


@dataclass(frozen=True)
class Base:
    """A base model without its images.

    Attributes:
        folder: Where it lies.
        text: Configuration of the language model.
        state: Its tensors under the names of transformers' LLaVA.
        is_llava: Whether it is a LLaVA and not a language model alone.
        left_behind: Tensors of tower and projector that were not taken.
    """

    folder: Path
    text: Any
    state: State
    is_llava: bool
    left_behind: int


def read_base(folder: Path) -> Base:
    """Read a base model.

    Args:
        folder: Folder in the form of the original LLaVA code (``LlavaLlamaForCausalLM``), of transformers
            (``LlavaForConditionalGeneration``), or of a language model alone.

    Raises:
        ModelError: If it cannot be read.
    """
    settings = read_json(folder / "config.json")
    nested = isinstance(settings.get("text_config"), dict)
    original = _is_llava(settings) and not nested
    text: PreTrainedConfig
    try:
        if nested:
            text = AutoConfig.for_model(**{"model_type": "llama", **settings["text_config"]})
        elif original:
            text = LlamaConfig(**{key: settings[key] for key in _LLAMA_FIELDS if settings.get(key) is not None})
        else:
            text = AutoConfig.from_pretrained(folder)
    except (KeyError, TypeError, ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(
            f"no configuration of a language model ({first})", where=str(folder / "config.json")
        ) from error
    everything = {_renamed(name): value for name, value in read_folder(folder).items()}
    state = {
        name: value
        for name, value in everything.items()
        if name.startswith(_KEPT) and not name.endswith("rotary_emb.inv_freq")
    }
    if text.tie_word_embeddings and "lm_head.weight" not in state:
        state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    return Base(folder, text, state, nested or original, len(everything) - len(state))


def llava_language_model(name: str, dtype: torch.dtype) -> Any:
    """Return the language model of a LLaVA, or None where the name is not a folder that holds one.

    Args:
        name: A folder, or anything else.
        dtype: Type of the weights.

    Raises:
        ModelError: If the folder cannot be read.
    """
    folder = Path(name)
    if not (folder / "config.json").is_file() or not _is_llava(read_json(folder / "config.json")):
        return None
    base = read_base(folder)
    base.text.vocab_size = len(base.state["model.language_model.embed_tokens.weight"])
    state = {key.replace("model.language_model.", "model.", 1): value for key, value in base.state.items()}
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(base.text)]
    with torch.device("meta"):
        expected = kind(base.text).state_dict()
    check_fit(state, expected, where=name, mend="download the whole folder")
    return kind.from_pretrained(None, config=base.text, state_dict=state, dtype=dtype)


def check_recorded_base(adapter: Path, base: str) -> None:
    """Check that a base is the one an adapter was trained on, where the adapter recorded its fingerprint.

    Args:
        adapter: Folder of the adapter.
        base: Folder of the base; the name of a repository is not checked.

    Raises:
        ModelError: If it is another.
    """
    description = adapter / "radialog.json"
    training = read_json(description).get("training") if description.is_file() else None
    recorded = training.get("base") if isinstance(training, dict) else None
    if not isinstance(recorded, dict) or not (Path(base) / "config.json").is_file():
        return
    if recorded.get("fingerprint") not in (None, base_fingerprint(read_base(Path(base)).state)):
        mend = f"give the folder of {recorded.get('name', 'the model it was trained on')}"
        raise ModelError(f"not the base that the adapter in {adapter} was trained on", where=base, mend=mend)


def extend_rows(weight: Tensor, rows: int) -> Tensor:
    """Append the mean row until there are ``rows``.

    Whatever the hidden state, the logit of a mean row is the mean of the other logits, so that greedy decoding never
    prefers it.

    Args:
        weight: [n, dim], embeddings or output layer.
        rows: How many rows there shall be; fewer than there are change nothing.

    Returns:
        [max(n, rows), dim].
    """
    new = rows - len(weight)
    if new <= 0:
        return weight
    mean = weight.float().mean(0, keepdim=True).to(weight.dtype)
    return torch.cat((weight, mean.expand(new, -1)))


def with_rows(state: State, rows: int) -> State:
    """Return a state whose embeddings and output layer have room for ``rows`` tokens."""
    tables = ("model.language_model.embed_tokens.weight", "lm_head.weight")
    return state | {name: extend_rows(state[name], rows) for name in tables if name in state}


def base_fingerprint(state: State) -> str:
    """Return a hash of a language model that does not depend on file form, 16-bit type or added tokens.

    Args:
        state: Its tensors under the names of transformers' LLaVA.
    """
    hasher = sha256()
    for name in sorted(state):
        if name.startswith("model.language_model."):
            head = state[name].flatten()[:_HASHED_VALUES].to(torch.bfloat16).view(torch.int16)
            hasher.update(f"{name} {list(state[name].shape[1:])} ".encode())
            hasher.update(head.contiguous().numpy().tobytes())
    return hasher.hexdigest()


def _is_llava(settings: dict[str, Any]) -> bool:
    return isinstance(settings.get("text_config"), dict) or any(key.startswith("mm_") for key in settings)


def _renamed(name: str) -> str:
    for pattern, new in _RENAMES:
        renamed, count = pattern.subn(new, name)
        if count:
            return renamed
    return name
