"""The configuration of a training run; shipped ones lie in ``configs/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from radialog_instruct.config import TASK_NAMES
from radialog_instruct.errors import UsageError
from radialog_model.settings import Settings, read_settings

CONFIGS = Path(__file__).parent / "configs"


class TowerStage(Settings):
    """The first stage of training from scratch, for a tower without pretrained weights."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)


class Inputs(Settings):
    """What the prompts show; the paper's ablations take something away."""

    image: bool = True
    findings: Literal["reference", "predicted", "off"] = "reference"
    """The original trains on reference labels and is used with predicted ones; ``predicted`` takes that shift away."""
    predictions: Path | None = None
    """What ``radialog-model findings predict`` wrote; needed by ``findings: predicted``."""

    @model_validator(mode="after")
    def _needs_predictions(self) -> Inputs:
        if (self.findings == "predicted") != (self.predictions is not None):
            raise ValueError("'predictions' names the file for findings: predicted, and only for that")
        return self


class Lora(Settings):
    """Low-rank adapters on the language model; projector and trained tower lie in the same adapter file."""

    r: int = Field(default=128, ge=1)
    alpha: int = Field(default=256, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Names of the linear layers that get one."""


class EarlyStopping(Settings):
    """Stop when the metric has not improved for some evaluations, and keep the best model."""

    metric: Literal["loss", "ce_macro_f1"] = "loss"
    """``ce_macro_f1`` writes reports for validation images and labels them with the rule labeler."""
    patience: int = Field(default=1, ge=1)
    images: int = Field(default=64, ge=1)
    """Validation images that ``ce_macro_f1`` writes reports for."""


class Throughput(Settings):
    """Levers of speed; none changes what is learnt, and each can be switched alone."""

    grouping: Literal["random", "length", "packed"] = "random"
    """Which rows share a micro-batch; ``packed`` fills sequences of ``longest`` tokens without padding."""
    supervised_logits: bool = True
    """Compute logits only where a token is supervised."""
    pixel_cache: bool = False
    """Decode, resize and crop every image once into a file of the work folder (196 KiB an image at 448 px)."""
    feature_cache: bool = False
    """Run a frozen tower once for every image; refused where the tower is trained."""
    workers: int = Field(default=0, ge=0)
    """Processes that prepare micro-batches."""
    compile: bool = False
    """torch.compile the language model's layers."""


class DialogStage(Settings):
    """Training on dialogs."""

    epochs: int = Field(ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after so many optimizer steps, to try a configuration out."""
    batch_size: int = Field(default=16, ge=1)
    """Rows of a micro-batch on each device."""
    accumulation: int = Field(default=1, ge=1)
    """Micro-batches of an optimizer step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    projector_learning_rate: float | None = Field(default=None, gt=0)
    tower_learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup: float = Field(default=50, ge=0)
    """Steps, or below 1 a share of all steps."""
    longest: int | None = Field(default=None, ge=16)
    """Most tokens of a row; longer ones are left out and counted. The preset's context by default."""
    supervise: Literal["last", "all"] = "last"
    train: tuple[Literal["llm", "projector", "tower"], ...] = ("llm", "projector")
    """Parts that learn; with ``lora`` the language model learns through its adapters."""
    lora: Lora | None = None
    quantization: Literal["none", "4bit"] = "none"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    repeat: dict[str, int] = Field(default_factory=dict)
    """Task -> how often an epoch shows each of its rows; 1 where it is not named."""
    early_stopping: EarlyStopping | None = None
    save_steps: int | None = Field(default=None, ge=1)
    """Save this often beside the end of every epoch."""
    report_to: tuple[Literal["tensorboard", "wandb"], ...] = ()
    peak_tflops: float | None = Field(default=None, gt=0)
    """Peak of one device in the precision used, for the model's FLOPs utilization; known GPUs need none."""
    throughput: Throughput = Throughput()

    @model_validator(mode="after")
    def _fits(self) -> DialogStage:
        if self.throughput.feature_cache and "tower" in self.train:
            raise ValueError("throughput.feature_cache needs a frozen tower: take 'tower' out of 'train'")
        if self.quantization != "none" and self.lora is None:
            raise ValueError("quantization needs lora: quantized weights cannot learn")
        if self.lora is not None and "llm" not in self.train:
            raise ValueError("lora needs 'llm' in 'train'")
        unknown = sorted(set(self.repeat) - set(TASK_NAMES))
        if unknown or min(self.repeat.values(), default=0) < 0:
            raise ValueError(
                f"repeat: {unknown[0] if unknown else 'a number below 0'}; the tasks are {', '.join(TASK_NAMES)}"
            )
        return self


class TrainConfig(Settings):
    """A training run.

    Without ``base_model`` everything begins from scratch: a tokenizer is trained, and the tower learns from labels in a
    stage of its own.
    """

    preset: str
    base_model: str | None = None
    """Folder or Hub name of the language model."""
    tower_weights: str | None = None
    """Folder or Hub name of the image tower: a converted BioViL-T, a vision model of the preset's kind, ``random``."""
    stage1: str | None = None
    """Folder that ``radialog-model align`` wrote; presets of the variant align need it."""
    extractor: str | None = None
    """Folder or Hub name of a findings extractor, which becomes part of the checkpoint."""
    image_size: int | None = Field(default=None, ge=14)
    """Side of the crop in pixels; the preset's by default."""
    vocab_size: int = Field(default=1200, ge=300)
    """Of the tokenizer that is trained from scratch."""
    tasks: tuple[str, ...] = TASK_NAMES
    inputs: Inputs = Inputs()
    seed: int = 0
    threads: int | None = None
    """CPU threads; None leaves torch's own choice."""
    tower: TowerStage | None = None
    dialog: DialogStage
    notices: tuple[str, ...] = ()
    """Stored with the checkpoint and shown wherever it is used."""

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        unknown = sorted(set(self.tasks) - set(TASK_NAMES))
        if unknown:
            raise ValueError(f"no task {unknown[0]!r}; the tasks are {', '.join(TASK_NAMES)}")
        if self.base_model is None and (self.dialog.lora is not None or self.dialog.quantization != "none"):
            raise ValueError("lora and quantization need 'base_model': give it here or as --base-model")
        if (self.stage1 is not None) != self.preset.startswith("align"):
            raise ValueError("'stage1' names what radialog-model align wrote, for presets of the variant align alone")
        if self.stage1 is not None and self.base_model is None:
            raise ValueError("'stage1' needs 'base_model': give it here or as --base-model")
        if self.stage1 is not None and (self.tower_weights or self.image_size):
            raise ValueError("'stage1' brings its own tower: leave out 'tower_weights' and 'image_size'")
        stopping = self.dialog.early_stopping
        reads_text = stopping is not None and stopping.metric == "ce_macro_f1"
        if reads_text and self.inputs.findings == "reference" and self.extractor is None:
            raise ValueError(
                "ce_macro_f1 would measure how well reference findings are copied: name the 'extractor' whose findings "
                "the model sees in use (--extractor), or stop by the metric loss"
            )
        blind = self.base_model is not None and self.tower_weights is None and self.inputs.image
        if self.preset.startswith("project") and blind:
            raise ValueError(
                "'tower_weights' is missing: name the image tower here or as --tower; 'random' begins anew"
            )
        if self.tower is not None and self.tower_weights is not None:
            raise ValueError("'tower' trains one from scratch; with 'tower_weights' leave it out")
        return self


def load_config(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load a shipped configuration by name, or a YAML file.

    Args:
        name: Name or path.
        overrides: ``key.key=value`` with the value as YAML, for example ``dialog.epochs=2``.

    Raises:
        UsageError: If there is none, or a key is unknown or wrong.
    """

    def change(values: dict[str, Any]) -> None:
        for override in overrides:
            _override(values, override)

    return read_settings(TrainConfig, CONFIGS, name, change)


def _override(values: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise UsageError(f"--set {override}", mend="write --set key.key=value, for example --set dialog.epochs=2")
    *path, last = key.split(".")
    for part in path:
        inner = values.get(part)
        if inner is None:
            inner = values[part] = {}
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override}", where=part, mend="this key holds a value, no keys")
        values = inner
    values[last] = yaml.safe_load(text)
