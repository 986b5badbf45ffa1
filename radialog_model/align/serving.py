"""``align`` in vLLM: its own wrapper around transformers models, under the name the checkpoint gives.

vLLM imports this module itself, by the name that ``radialog_model.register`` hands it.
"""

from __future__ import annotations

from vllm.model_executor.models.transformers import (
    MultiModalDummyInputsBuilder,
    MultiModalProcessingInfo,
    MultiModalProcessor,
    TransformersMultiModalForCausalLM,
)
from vllm.multimodal import MULTIMODAL_REGISTRY


@MULTIMODAL_REGISTRY.register_processor(
    MultiModalProcessor, info=MultiModalProcessingInfo, dummy_inputs=MultiModalDummyInputsBuilder
)
class RaDialogAlignForConditionalGeneration(TransformersMultiModalForCausalLM):  # type: ignore[misc]
    """The model as vLLM runs it: paged attention for the language model, the rest as transformers computes it."""
