"""Attention of one token a row without copying what groups of heads share.

Where several query heads share a key head, transformers copies keys and values for each of them as soon as there is a
mask: at every step, for every layer, the whole cache. Asked with the heads of a group as if they were tokens, SDPA
gives the same result and copies nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "radialog_grouped"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' SDPA does.

    Args:
        module: The attention layer.
        query: [rows, heads, tokens, head_dim].
        key: [rows, key_heads, length, head_dim].
        value: The same shape.
        attention_mask: [rows, 1, tokens, length], true where a token may look, or None for a causal one.
        scaling: Factor of the products.
        **kwargs: What transformers passes on.

    Returns:
        [rows, tokens, heads, head_dim], and no weights.
    """
    rows, heads, tokens, dim = query.shape
    if tokens != 1 or attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    grouped = query.view(rows, key.shape[1], heads // key.shape[1], dim)
    output = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return output.reshape(rows, 1, heads, dim), None


@contextmanager
def grouped(config: Any) -> Iterator[None]:
    """Let a language model attend so where it would use SDPA and its heads share keys.

    Args:
        config: The language model's configuration.
    """
    before = config._attn_implementation
    if before != "sdpa" or config.num_key_value_heads == config.num_attention_heads:
        yield
        return
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
