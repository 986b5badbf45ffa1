"""The processor of ``align``: a LLaVA processor that writes as many image tokens as there are queries."""

from __future__ import annotations

from typing import Any

from transformers import CLIPImageProcessorPil, LlavaProcessor
from transformers.processing_utils import MultiModalData

from radialog_model.biovil import BioViLTConfig
from radialog_model.processing import RESIZE_MARGIN


class RaDialogAlignProcessor(LlavaProcessor):
    """A LLaVA processor whose images take ``num_query_tokens`` tokens, whatever their size.

    Args:
        image_processor: Resizes and crops.
        tokenizer: Tokenizer of the language model.
        patch_size: Side of a patch in pixels; kept for the sake of LLaVA's interface.
        vision_feature_select_strategy: The same.
        chat_template: The chat template.
        image_token: The placeholder, where the tokenizer names none.
        num_additional_image_tokens: Unused; LLaVA's interface has it.
        num_query_tokens: Tokens an image takes.
        **kwargs: Passed on.
    """

    variant = "align"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = "<image>",  # noqa: S107 - a placeholder in the prompt, no secret
        num_additional_image_tokens: int = 0,
        num_query_tokens: int = 32,
        **kwargs: Any,
    ) -> None:
        self.num_query_tokens = num_query_tokens
        super().__init__(  # type: ignore[no-untyped-call]
            image_processor,
            tokenizer,
            patch_size,
            vision_feature_select_strategy,
            chat_template,
            image_token,
            num_additional_image_tokens,
            **kwargs,
        )

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:  # noqa: ARG002
        """Return the placeholder once for each query."""
        return str(self.image_token) * self.num_query_tokens

    def _get_num_multimodal_tokens(
        self,
        image_sizes: list[list[int]] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> MultiModalData:
        if image_sizes is None:
            return MultiModalData()
        count = len(image_sizes)
        return MultiModalData(num_image_tokens=[self.num_query_tokens] * count, num_image_patches=[1] * count)


def tower_images(tower: BioViLTConfig) -> CLIPImageProcessorPil:
    """Return what resizes and crops images for a tower, without mean and standard deviation."""
    crop = tower.image_size
    return CLIPImageProcessorPil(
        size={"shortest_edge": round(crop * RESIZE_MARGIN)},
        crop_size={"height": crop, "width": crop},
        do_normalize=False,
        do_rescale=True,
        do_convert_rgb=True,
    )
