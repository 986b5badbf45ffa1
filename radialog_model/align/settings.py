"""The configuration of a first-stage run; shipped ones lie in ``configs/align``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from radialog_model.settings import Settings, given, read_settings

CONFIGS = Path(__file__).parents[1] / "configs" / "align"


class AlignSettings(Settings):
    """A run of the first stage."""

    preset: str
    tower: str | None = None
    """Folder or Hub name of a BioViL-T tower, or of a checkpoint that has one; random weights by default."""
    bert: str | None = None
    """Folder or Hub name of a BERT that gives the query transformer its shape, weights and tokenizer."""
    freeze_tower: bool = True
    vocab_size: int = Field(default=1200, ge=300)
    """Of the tokenizer that is trained where no BERT is given."""
    released_bugs: bool = False
    """Compute as the released code does."""
    augment: bool = False
    """Rotate, scale, shift and re-window the images; the released code defines augmentation but applies none."""
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=2)
    """Pairs a step on each device; a step's other pairs are its negatives."""
    learning_rate: float = Field(default=1e-4, gt=0)
    min_learning_rate: float = Field(default=1e-5, ge=0)
    """Where the cosine ends."""
    warmup_learning_rate: float = Field(default=1e-6, ge=0)
    """Where the linear warm-up begins."""
    warmup_steps: int | None = Field(default=None, ge=0)
    warmup_epochs: float | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    workers: int = Field(default=0, ge=0)
    """Processes that load images."""
    save_steps: int | None = Field(default=None, ge=1)
    """Save this often instead of at the end of every epoch."""
    keep_best: bool = False
    """Keep the epoch whose recall is best on validation, not the last one."""
    seed: int = 0
    threads: int | None = None
    """CPU threads; None leaves torch's own choice."""
    notices: tuple[str, ...] = ()
    """Stored with the model."""

    @model_validator(mode="after")
    def _fits(self) -> AlignSettings:
        if (self.warmup_steps is None) == (self.warmup_epochs is None):
            raise ValueError("give either warmup_steps or warmup_epochs")
        if self.tower is None and self.freeze_tower:
            raise ValueError("give a trained tower (--tower), or set freeze_tower: false; random weights would be kept")
        if self.keep_best and self.save_steps is not None:
            raise ValueError("keep_best compares epochs: leave out save_steps")
        return self


def load_align_settings(name: str, **changes: Any) -> AlignSettings:
    """Load a shipped configuration by name, or a YAML file.

    Args:
        name: Name or path.
        **changes: Keys that replace the file's; None changes nothing.

    Raises:
        UsageError: If there is none, or a key is unknown or wrong.
    """
    return read_settings(AlignSettings, CONFIGS, name, given(changes))
