"""The ``align`` model that answers: a LLaVA whose projector is a frozen query transformer and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import AutoModel, Blip2QFormerConfig, LlavaForConditionalGeneration, LlavaModel

from radialog_model.align.configuration import RaDialogAlignConfig
from radialog_model.qformer import QueryTransformer


class AlignProjector(nn.Module):
    """From patches to language-model tokens.

    The published model kept the outputs of its query transformer in a file, so nothing before ``language_projection``
    was trained with the language model. Here the query transformer stands in the model, frozen and without dropout.

    Args:
        config: The model's configuration.
    """

    def __init__(self, config: RaDialogAlignConfig) -> None:
        super().__init__()
        shape = config.qformer_config
        assert isinstance(shape, Blip2QFormerConfig)
        self.frozen = config.freeze_qformer
        self.query_transformer = QueryTransformer(
            shape,
            num_queries=config.num_query_tokens,
            patch_width=config.vision_config.hidden_size,  # type: ignore[union-attr]
            released_bugs=config.released_bugs,
        )
        self.language_projection = nn.Linear(shape.hidden_size, config.text_config.hidden_size)  # type: ignore[union-attr]
        self.train()

    def train(self, mode: bool = True) -> AlignProjector:
        """Switch the mode; a frozen query transformer stays in evaluation mode and gets no gradients."""
        super().train(mode)
        if self.frozen:
            self.query_transformer.eval()
            self.query_transformer.requires_grad_(False)
        return self

    def forward(self, image_features: Tensor) -> Tensor:
        """Return [batch, num_query_tokens, language-model width] of patches [batch, patches, patch_width]."""
        tokens: Tensor = self.language_projection(self.query_transformer(image_features))
        return tokens.contiguous()


class RaDialogAlignModel(LlavaModel):
    """The model without its language-modelling head."""

    config_class = RaDialogAlignConfig
    config: RaDialogAlignConfig

    def __init__(self, config: RaDialogAlignConfig) -> None:
        # Past LLaVA's own constructor, which would build a second projector.
        super(LlavaModel, self).__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector: nn.Module = AlignProjector(config)  # type: ignore[assignment]
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()  # type: ignore[no-untyped-call]


class RaDialogAlignForConditionalGeneration(LlavaForConditionalGeneration):
    """The model that answers; used exactly like a stock LLaVA."""

    config_class = RaDialogAlignConfig
    config: RaDialogAlignConfig

    def __init__(self, config: RaDialogAlignConfig) -> None:
        # Past LLaVA's own constructor, which would build a second language model.
        super(LlavaForConditionalGeneration, self).__init__(config)
        self.model = RaDialogAlignModel(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)  # type: ignore[union-attr]
        self.post_init()  # type: ignore[no-untyped-call]
