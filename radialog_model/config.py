"""The configuration of a training run; shipped ones lie in ``configs/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from radialog_instruct.config import TASK_NAMES
from radialog_instruct.errors import UsageError

CONFIGS = Path(__file__).parent / "configs"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TowerStage(_Settings):
    """The first stage, for a tower without pretrained weights."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)


class DialogStage(_Settings):
    """The second stage: projector and language model on dialogs, the tower frozen."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=50, ge=0)
    repeat: dict[str, int] = {}
    """Task -> how often an epoch shows each of its rows; 1 where it is not named."""


class TrainConfig(_Settings):
    """A training run from scratch."""

    preset: str
    vocab_size: int = Field(default=1200, ge=300)
    tasks: tuple[str, ...] = TASK_NAMES
    seed: int = 0
    threads: int | None = None
    """CPU threads; None leaves torch's own choice."""
    tower: TowerStage
    dialog: DialogStage
    notices: tuple[str, ...] = ()
    """Stored with the checkpoint and shown wherever it is used."""


def load_config(name: str) -> TrainConfig:
    """Load a shipped configuration by name, or a YAML file.

    Raises:
        UsageError: If there is none, or a key is unknown or wrong.
    """
    shipped = CONFIGS / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TrainConfig.model_validate(values)
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise UsageError("no such configuration", where=name, mend=f"give a YAML file or one of: {known}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML ({error})", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{key}: {first['msg']}", where=str(path), mend="mend the key") from error
