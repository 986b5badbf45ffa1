"""The query transformer of the ``align`` variant: 32 learned queries read an image's patches.

The layers are transformers' own ``Blip2QFormerModel`` (BLIP-2, Li et al., ICML 2023): self-attention that queries and
text share, cross-attention to the patches for the queries in every second layer, and a feed-forward network for each of
the two. What BLIP-2's first stage needs besides stands here and in ``radialog_model.align``; see decision 022.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

MaskKind = Literal["unimodal", "bidirectional", "multimodal_causal"]


def attention_mask(kind: MaskKind, n_queries: int, text: Tensor, dtype: torch.dtype) -> Tensor:
    """Return who may attend to whom in a sequence of queries followed by text.

    Queries always see each other. Padding is seen by nobody.

    Args:
        kind: ``unimodal``: queries and text do not see each other; ``bidirectional``: everything sees everything;
            ``multimodal_causal``: queries see no text, text sees the queries and what stands before it.
        n_queries: Number of queries.
        text: [batch, tokens], 1 for a token and 0 for padding.
        dtype: Type of the attention scores.

    Returns:
        [batch, 1, n_queries + tokens, n_queries + tokens]: 0 where attention is allowed, the lowest number elsewhere.
    """
    batch, tokens = text.shape
    length = n_queries + tokens
    allowed = torch.zeros(length, length, dtype=torch.bool, device=text.device)
    allowed[:n_queries, :n_queries] = True
    if kind == "bidirectional":
        allowed[:] = True
    elif kind == "unimodal":
        allowed[n_queries:, n_queries:] = True
    else:
        allowed[n_queries:, :n_queries] = True
        allowed[n_queries:, n_queries:] = torch.ones(tokens, tokens, dtype=torch.bool, device=text.device).tril()
    there = torch.cat((text.new_ones(batch, n_queries), text), dim=1).bool()
    allowed = allowed[None, None] & there[:, None, None, :]
    return torch.zeros(allowed.shape, dtype=dtype, device=text.device).masked_fill(~allowed, torch.finfo(dtype).min)


class ReleasedNeck(nn.Module):
    """What the released code has between tower and query transformer, with both its defects.

    A projector whose weights were never trained (the pretrained ones were dropped, the new ones drawn at random and
    frozen), and a reshape of [channels, patches] to [patches, channels] that forgets to transpose: each "patch" the
    queries see is made of a few channels at all positions.

    Args:
        patch_width: Values of a patch, 512 for BioViL-T.
        width: Values the query transformer expects, 1408 in the release.
    """

    def __init__(self, patch_width: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(patch_width, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 1)
        self.train()

    def train(self, mode: bool = True) -> ReleasedNeck:
        """Stay in evaluation mode, frozen, whatever ``mode`` says."""
        del mode
        super().train(False)
        self.requires_grad_(False)
        return self

    def forward(self, patches: Tensor) -> Tensor:
        """Return [batch, patches, width] of [batch, patches, patch_width]."""
        image = patches.transpose(1, 2).unsqueeze(-1)  # [batch, patch_width, patches, 1]
        projected: Tensor = self.second(torch.relu(self.bn(self.first(image))))
        batch, width, count, _ = projected.shape
        return projected.reshape(batch, count, width)


class QueryTransformer(nn.Module):
    """Learned queries, the normalisation of the patches, and the layers.

    Args:
        config: Shape of the layers; ``encoder_hidden_size`` is the width of a patch as the queries see it, and
            ``use_qformer_text_input`` tells whether there is a branch for text.
        num_queries: Number of queries.
        patch_width: Width of a patch as the tower gives it.
        released_bugs: Put ``ReleasedNeck`` before the layers.

    Raises:
        ValueError: If the widths do not fit each other.
    """

    def __init__(
        self, config: Blip2QFormerConfig, *, num_queries: int, patch_width: int, released_bugs: bool = False
    ) -> None:
        super().__init__()
        width = config.encoder_hidden_size
        if not released_bugs and width != patch_width:
            raise ValueError(f"encoder_hidden_size is {width}, but the tower gives patches of {patch_width}")
        # A module and no bare parameter: PEFT's modules_to_save can hold it.
        self.queries = nn.Embedding(num_queries, config.hidden_size)
        self.neck: nn.Module = ReleasedNeck(patch_width, width) if released_bugs else nn.Identity()
        self.norm = nn.LayerNorm(width)
        self.qformer = Blip2QFormerModel(config)

    @property
    def num_queries(self) -> int:
        """Number of queries."""
        return self.queries.num_embeddings

    def query_states(self, batch: int) -> Tensor:
        """Return the queries before the first layer; [batch, num_queries, hidden]."""
        # A look-up, not .weight: serving engines may swap the module for one that pads its table.
        numbers = torch.arange(self.num_queries, device=self.queries.weight.device)
        states: Tensor = self.queries(numbers)
        return states.expand(batch, -1, -1)

    def forward(self, patches: Tensor) -> Tensor:
        """Let the queries read the patches.

        Args:
            patches: [batch, patches, patch_width].

        Returns:
            [batch, num_queries, hidden].
        """
        return self._run(self.query_states(len(patches)), self.num_queries, patches)

    def with_text(self, patches: Tensor, text: Tensor, mask: Tensor, kind: MaskKind) -> tuple[Tensor, Tensor]:
        """Let queries and text interact in the self-attention they share.

        Args:
            patches: [batch, patches, patch_width].
            text: [batch, tokens, hidden], the embedded text.
            mask: [batch, tokens], 1 for a token and 0 for padding.
            kind: Who sees whom.

        Returns:
            The queries [batch, num_queries, hidden] and the text [batch, tokens, hidden].
        """
        states = torch.cat((self.query_states(len(text)).to(text.dtype), text), dim=1)
        allowed = attention_mask(kind, self.num_queries, mask, states.dtype)
        output = self._run(states, self.num_queries, patches, allowed)
        return output[:, : self.num_queries], output[:, self.num_queries :]

    def text_alone(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return [batch, tokens, hidden]: the text without queries and image, seen in both directions."""
        return self._run(text, 0, None, attention_mask("bidirectional", 0, mask, text.dtype))

    def _run(self, states: Tensor, n_queries: int, patches: Tensor | None, mask: Tensor | None = None) -> Tensor:
        encoder: Any = None if patches is None else self.norm(self.neck(patches.to(self.norm.weight.dtype)))
        layers: Any = self.qformer
        output: Tensor = layers(
            query_embeds=states, query_length=n_queries, attention_mask=mask, encoder_hidden_states=encoder
        ).last_hidden_state
        return output
