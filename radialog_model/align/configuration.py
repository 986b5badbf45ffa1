"""Configurations of the two stages of ``align``."""

from __future__ import annotations

from typing import Any, Literal

from transformers import AutoConfig, Blip2QFormerConfig, LlavaConfig, PreTrainedConfig

from radialog_model.biovil import BioViLTConfig

RELEASED_WIDTH = 1408
"""Width between tower and query transformer in the released code."""


def query_config(config: dict[str, Any] | PreTrainedConfig | None, **defaults: Any) -> Blip2QFormerConfig:
    """Return the shape of a query transformer; what is not given is BERT-base on patches of 512 values."""
    if isinstance(config, Blip2QFormerConfig):
        return config
    given = {"encoder_hidden_size": 512, **defaults, **(config if isinstance(config, dict) else {})}
    given.pop("model_type", None)
    return Blip2QFormerConfig(**given)


class AlignStage1Config(PreTrainedConfig):
    """Shape of the first stage, and the constants of its losses.

    Attributes:
        vision_config: The tower.
        qformer_config: The query transformer, with its text branch.
        num_query_tokens: Learned queries.
        projection_dim: Width in which images and texts are compared.
        temperature: Start of the learned temperature.
        label_smoothing: Of the contrastive and the language modelling loss.
        max_text_length: Tokens of a report, marks included; the rest is cut off.
        freeze_tower: Keep the tower as it is, in evaluation mode.
        released_bugs: Compute as the released code does, see ``radialog_model.qformer.ReleasedNeck``.
    """

    model_type = "radialog_align_stage1"
    sub_configs = {"vision_config": BioViLTConfig, "qformer_config": Blip2QFormerConfig}  # noqa: RUF012

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    qformer_config: dict[str, Any] | PreTrainedConfig | None = None
    num_query_tokens: int = 32
    projection_dim: int = 256
    temperature: float = 0.07
    label_smoothing: float = 0.1
    max_text_length: int = 256
    freeze_tower: bool = True
    released_bugs: bool = False
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.vision_config, PreTrainedConfig):
            given = dict(self.vision_config or {})
            given.pop("model_type", None)
            self.vision_config = BioViLTConfig(**given)
        self.qformer_config = query_config(self.qformer_config, use_qformer_text_input=True)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class RaDialogAlignConfig(LlavaConfig):
    """A LLaVA whose projector is a query transformer followed by one linear layer.

    Attributes:
        qformer_config: The query transformer; its text branch is gone.
        num_query_tokens: Learned queries, and so language-model tokens, an image.
        freeze_qformer: Keep the query transformer as it is, in evaluation mode: the paper's second stage.
        released_bugs: Compute as the released code does, see ``radialog_model.qformer.ReleasedNeck``.
    """

    model_type = "radialog_align"
    sub_configs = {  # noqa: RUF012
        "text_config": AutoConfig,  # type: ignore[dict-item]
        "vision_config": AutoConfig,  # type: ignore[dict-item]
        "qformer_config": Blip2QFormerConfig,
    }

    qformer_config: dict[str, Any] | PreTrainedConfig | None = None
    num_query_tokens: int = 32
    image_seq_length: int = 32
    vision_feature_layer: int | list[int] = -1
    vision_feature_select_strategy: Literal["default", "full"] = "full"
    freeze_qformer: bool = True
    released_bugs: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.qformer_config = query_config(self.qformer_config)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
