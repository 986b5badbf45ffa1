"""What of a command line or a setting may leave this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HIDDEN = "(hidden)"
_SECRET = re.compile(r"(^|[_-])(api_?-?key|key|token|secret|password|authorization)$", re.IGNORECASE)


def shareable(value: Any) -> Any:
    """Return a value as it may be passed on.

    Absolute paths become their last part, because the folders above it say who runs what where; what is named like a
    key or a password is hidden.

    Args:
        value: A setting, or settings by name; words of a command line may read ``name=value``.
    """
    if isinstance(value, dict):
        return {key: _named(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(shareable(each) for each in value)
    if isinstance(value, str):
        name, equals, rest = value.partition("=")
        return f"{name}={_named(name, rest)}" if equals and name.isidentifier() else _last(value)
    return value


def _named(name: str, value: Any) -> Any:
    if _SECRET.search(name) and isinstance(value, str) and value:
        return HIDDEN
    return shareable(value)


def _last(word: str) -> str:
    # "/folder/file.py:Class" keeps its class.
    return Path(word).name if word.startswith(("/", "~")) else word
