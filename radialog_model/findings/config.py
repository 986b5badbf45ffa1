"""The configuration of an extractor's training; shipped ones lie in ``configs/findings/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from radialog_model.settings import Settings, given, read_settings

CONFIGS = Path(__file__).parents[1] / "configs" / "findings"


class FindingsTrainConfig(Settings):
    """A training run of the stand-alone extractor; the defaults are the paper's."""

    backbone: str
    """Folder or Hub repository of a vision model, or ``biovil_t`` or ``clip`` for one with random weights."""
    sizes: dict[str, Any] = Field(default_factory=dict)
    """Sizes of a backbone with random weights, as its configuration names them."""
    head: Literal["linear", "released"] = "linear"
    crop: int | None = Field(default=None, ge=1)
    """Side of the square the backbone sees; its own by default."""
    resize: int | None = Field(default=None, ge=1)
    """What the short side is resized to before the crop; as the backbone's own processor does by default."""
    freeze: bool = False
    """Train the head alone."""
    batchnorm: Literal["live", "frozen"] = "live"
    """Whether a BioViL-T backbone's BatchNorm learns; the published code left it live."""
    thresholds: Literal["half", "tuned"] = "half"
    """0.5 for all classes as in the paper, or the best F1 of each on the validation split."""
    epochs: int = Field(default=6, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    bf16: bool = False
    """Mixed precision, for GPUs."""
    workers: int = Field(default=0, ge=0)
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None leaves torch's own choice."""
    notices: tuple[str, ...] = ()
    """Stored with the extractor and shown wherever it is used."""


def load_findings_config(name: str, **changes: Any) -> FindingsTrainConfig:
    """Load a shipped configuration by name, or a YAML file.

    Args:
        name: Name or path.
        **changes: Keys given on the command line; None leaves what the file says.

    Raises:
        UsageError: If there is none, or a key is unknown or wrong.
    """
    return read_settings(FindingsTrainConfig, CONFIGS, name, given(changes))
