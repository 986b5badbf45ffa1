"""Configurations in YAML: shipped ones by name, others by path, with errors that name the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from radialog_instruct.errors import UsageError


class Settings(BaseModel):
    """Keys of a configuration; others are refused, and none changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Settings)


def read_settings(kind: type[Kind], folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Kind:
    """Read a configuration.

    Args:
        kind: What it holds.
        folder: Where the shipped ones lie.
        name: Name of a shipped one, or path of a YAML file.
        change: Puts values from the command line into what the file says.

    Raises:
        UsageError: If there is none, or a key is unknown or wrong.
    """
    shipped = folder / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise UsageError("holds no keys", where=str(path), mend="write 'key: value' lines")
        change(values)
        return kind.model_validate(values)
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise UsageError("no such configuration", where=name, mend=f"give a YAML file or one of: {known}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML ({error})", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        key = ".".join(str(part) for part in first["loc"])
        what = f"{key}: {message}" if key else message
        raise UsageError(what, where=str(path), mend="mend the key") from error


def given(changes: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return a change that puts in the values that are not None."""
    return lambda values: values.update((key, value) for key, value in changes.items() if value is not None)
