"""The configuration of an extractor's training; shipped ones lie in ``configs/findings/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radialog_instruct.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs" / "findings"


class FindingsTrainConfig(BaseModel):
    """A training run of the stand-alone extractor; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    """Folder or Hub repository of a vision model, or ``biovil_t`` or ``clip`` for one with random weights."""
    sizes: dict[str, Any] = {}
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
    shipped = CONFIGS / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        given = {key: value for key, value in changes.items() if value is not None}
        return FindingsTrainConfig.model_validate({**(values or {}), **given})
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise UsageError("no such configuration", where=name, mend=f"give a YAML file or one of: {known}") from error
    except (yaml.YAMLError, TypeError) as error:
        raise UsageError(f"not a mapping in YAML ({error})", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{key}: {first['msg']}", where=str(path), mend="mend the key") from error
