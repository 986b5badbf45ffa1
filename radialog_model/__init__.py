"""The reference model: RaDialog's variants ``project`` and ``align``, their training, and their adapters for the bench.

Importing the package loads neither torch nor transformers; ``register`` and the modules do.
"""

from __future__ import annotations


def register() -> None:
    """Make tower, findings extractor and the variant ``align`` known to transformers' Auto classes and to vLLM.

    Idempotent. vLLM calls it in every process through the entry point group ``vllm.general_plugins``.
    """
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForImageClassification,
        AutoModelForImageTextToText,
        AutoProcessor,
    )

    from radialog_model.align.configuration import AlignStage1Config, RaDialogAlignConfig
    from radialog_model.align.modeling import RaDialogAlignForConditionalGeneration, RaDialogAlignModel
    from radialog_model.align.processing import RaDialogAlignProcessor
    from radialog_model.align.stage1 import AlignStage1Model
    from radialog_model.biovil import BioViLTConfig, BioViLTModel
    from radialog_model.findings.model import FindingsConfig, FindingsModel

    for config, model in (
        (BioViLTConfig, BioViLTModel),
        (RaDialogAlignConfig, RaDialogAlignModel),
        (AlignStage1Config, AlignStage1Model),
    ):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)
    AutoConfig.register(FindingsConfig.model_type, FindingsConfig, exist_ok=True)
    AutoModelForImageClassification.register(FindingsConfig, FindingsModel, exist_ok=True)
    AutoModelForImageTextToText.register(RaDialogAlignConfig, RaDialogAlignForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(RaDialogAlignConfig, RaDialogAlignProcessor, exist_ok=True)
    _register_with_vllm()


def _register_with_vllm() -> None:
    import sys

    # vLLM loads this plugin itself; nobody else needs it imported.
    registry = getattr(sys.modules.get("vllm"), "ModelRegistry", None)
    name = "RaDialogAlignForConditionalGeneration"
    if registry is not None and name not in registry.get_supported_archs():
        registry.register_model(name, f"radialog_model.align.serving:{name}")
