"""Whether weights fit their configuration and a processor fits its model: checked on load and on save."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from radialog_instruct.errors import ModelError
from radialog_model.prompts import IMAGE_TOKEN

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlavaConfig, LlavaProcessor

SHOWN = 3
"""Names an error lists before it goes on with a count."""


def few(names: Collection[str]) -> str:
    """Return the first few names in order, and how many there are where that is not all of them."""
    first = ", ".join(sorted(names)[:SHOWN])
    return first if len(names) <= SHOWN else f"{first}, ... ({len(names)} in all)"


def check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, where: str, mend: str | None = None
) -> None:
    """Check that tensors have the names and shapes that a model asks for.

    Args:
        state: The tensors.
        expected: State dict of the model, on any device.
        where: The file or folder the tensors come from.
        mend: What the user can do about it.

    Raises:
        ModelError: If names are missing or not known, or shapes are wrong.
    """
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    wrong = [
        f"{name} is {list(tensor.shape)} and not {list(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    found = (("missing", missing), ("not known", unknown), ("wrong shape", wrong))
    parts = [f"{what}: {few(names)}" for what, names in found if names]
    if parts:
        raise ModelError(f"the weights do not fit the model ({'; '.join(parts)})", where=where, mend=mend)


def check_tokens(config: LlavaConfig, processor: LlavaProcessor, embedding_rows: int) -> None:
    """Check that the tokenizer's ids have embeddings and that both sides mean the same image token.

    Args:
        config: The model's configuration.
        processor: Its processor.
        embedding_rows: Rows of the input embeddings.

    Raises:
        ModelError: If they do not fit.
    """
    tokenizer = processor.tokenizer
    text: Any = config.text_config
    stated = text.vocab_size
    if embedding_rows != stated:
        raise ModelError(
            f"the embeddings have {embedding_rows} rows, the configuration says {stated}",
            mend="set text_config.vocab_size to the number of rows",
        )
    if len(tokenizer) > embedding_rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the embeddings only {embedding_rows} rows",
            mend="use the tokenizer the model was trained with",
        )
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if image != config.image_token_index:
        raise ModelError(
            f"{IMAGE_TOKEN} is token {image} to the tokenizer and {config.image_token_index} to the model",
            mend="set image_token_index to the tokenizer's id, or use the tokenizer the model was trained with",
        )
