"""The reference model: RaDialog's ``project`` variant, its training, and its adapter for the bench.

Importing the package loads neither torch nor transformers; ``register`` and the modules do.
"""

from __future__ import annotations


def register() -> None:
    """Make ``biovil_t`` towers and ``radialog_findings`` extractors known to transformers' Auto classes.

    Idempotent. vLLM calls it in every process through the entry point group ``vllm.general_plugins``.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

    from radialog_model.biovil import BioViLTConfig, BioViLTModel
    from radialog_model.findings.model import FindingsConfig, FindingsModel

    AutoConfig.register(BioViLTConfig.model_type, BioViLTConfig, exist_ok=True)
    AutoModel.register(BioViLTConfig, BioViLTModel, exist_ok=True)
    AutoConfig.register(FindingsConfig.model_type, FindingsConfig, exist_ok=True)
    AutoModelForImageClassification.register(FindingsConfig, FindingsModel, exist_ok=True)
