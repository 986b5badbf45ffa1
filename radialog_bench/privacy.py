"""What of a command line or a setting may be written down, and what of it may leave this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HIDDEN = "(hidden)"
_SECRET = re.compile(
    r"(^|[_-])(api_?-?key|key|token|secret|pass|passwd|pwd|password|passphrase|authorization|credentials?)$",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_WORD = re.compile(r"\S+")
_SCHEME = re.compile(r"([A-Za-z][\w+-]*:)?((?:[/~]|\.\.?/).*)", re.DOTALL)
"""A path from the root, the home or here, maybe behind a scheme such as ``predictions:``."""


def without_secrets(value: Any) -> Any:
    """Return a value with what is named like a key or a password hidden, and the user taken out of addresses.

    Args:
        value: A setting, or settings by name; words of a command line may read ``name=value``, the value may be JSON.
    """
    if isinstance(value, dict):
        return {key: _hidden(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_secrets(each) for each in value)
    if not isinstance(value, str):
        return value
    name, equals, rest = value.partition("=")
    if equals and re.fullmatch(r"[\w-]+", name):
        return f"{name}={_hidden(name, rest)}"
    if value.lstrip().startswith(("{", "[")):
        try:
            return json.dumps(without_secrets(json.loads(value)))
        except ValueError:
            return value
    return _USER.sub("", value)


def shareable(value: Any) -> Any:
    """Return a value as it may be passed on: without secrets, and of each path only its last part.

    The folders above a file say who runs what where.

    Args:
        value: As for ``without_secrets``.
    """
    return _without_folders(without_secrets(value))


def _hidden(name: str, value: Any) -> Any:
    if _SECRET.search(name) and isinstance(value, str) and value:
        return HIDDEN
    return without_secrets(value)


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_folders(each) for each in value)
    return _WORD.sub(lambda word: _last(word[0]), value) if isinstance(value, str) else value


def _last(word: str) -> str:
    name, equals, rest = word.partition("=")
    found = _SCHEME.fullmatch(rest if equals else word)
    if found is None or "://" in word:
        return word
    # "/folder/file.py:Class" keeps its class.
    return f"{name + equals if equals else ''}{found[1] or ''}{Path(found[2]).name}"
