"""What of a command line or a setting may leave this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def without_folders(value: Any) -> Any:
    """Return a value in which every absolute path is its last part; the folders above it say who runs what where."""
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_folders(each) for each in value)
    if isinstance(value, str):
        key, equals, rest = value.partition("=")
        return f"{key}={_last(rest)}" if equals and rest.startswith(("/", "~")) else _last(value)
    return value


def _last(word: str) -> str:
    # "folder/file.py:Class" keeps its class; an address is no path.
    return Path(word).name if word.startswith(("/", "~")) else word
