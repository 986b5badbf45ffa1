"""``--config``: a YAML file whose keys are the command's flags; a flag on the command line wins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from radialog_instruct.errors import UsageError

MEND = "write one `flag: value` a line"


class _Loader(yaml.SafeLoader):
    """YAML with ``true`` and ``false`` as its only booleans, as in YAML 1.2: ``off`` is a mode's name here."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), [*"tTfF"])


@dataclass(frozen=True)
class Flag:
    """What a flag sets.

    Attributes:
        parameter: Name of the parameter.
        several: Whether it may be given several times.
        negative: Whether it turns the parameter off, as ``--no-image`` does.
    """

    parameter: str
    several: bool = False
    negative: bool = False


def read_config(path: Path, flags: Mapping[str, Flag]) -> dict[str, Any]:
    """Read a configuration file into values of parameters.

    Args:
        path: The file. Keys are flags without their dashes; ``model-args`` may be a mapping, a list stands for a comma
            list.
        flags: Flag without its dashes -> what it sets.

    Returns:
        Parameter name -> value, as the command line would give it.

    Raises:
        UsageError: If the file cannot be read, is no mapping, or has an unknown or repeated key.
    """
    values: dict[str, Any] = {}
    for key, value, where in _entries(path):
        if key not in flags:
            close = get_close_matches(key, flags, n=1) or list(flags)
            raise UsageError(f"no flag --{key}", where=where, mend=f"did you mean {' or '.join(close)}?")
        flag = flags[key]
        if flag.parameter in values:
            raise UsageError(f"{key} is given twice", where=where, mend="give it once")
        if flag.negative and not isinstance(value, bool | None):
            mend = f"write {key}: true, or {key.removeprefix('no-')}: false"
            raise UsageError(f"{key} is true or false", where=where, mend=mend)
        given = not value if flag.negative and value is not None else value
        values[flag.parameter] = _as_given(given, flag.several, where)
    return {name: value for name, value in values.items() if value is not None}


def _entries(path: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and place of each entry."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            raise UsageError("not a mapping of flags to values", where=str(path), mend=MEND)
        for key, value in node.value:
            where = f"{path}:{key.start_mark.line + 1}"
            yield str(key.value).replace("_", "-"), loader.construct_object(value, deep=True), where
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}", where=str(path), mend="give a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"not YAML ({error})", where=str(path), mend=MEND) from error


def _as_given(value: Any, several: bool, where: str) -> Any:
    if value is None:
        return None
    if several:
        if isinstance(value, dict):
            return [f"{key}={_scalar(item)}" for key, item in value.items()]
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]
    if isinstance(value, dict):
        raise UsageError("a mapping where one value belongs", where=where, mend="give a value or a list")
    return ",".join(str(item) for item in value) if isinstance(value, list) else value


def _scalar(value: Any) -> str:
    """Return a value as ``key=value`` takes it; a text that would read as a number or truth keeps its quotes."""
    if isinstance(value, str):
        reads_otherwise = yaml.load(value, Loader=_Loader) != value  # noqa: S506 - derived from SafeLoader
        return json.dumps(value) if reads_otherwise else value
    return json.dumps(value)


def _load(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        flags = {
            option.removeprefix("--"): Flag(str(parameter.name), getattr(parameter, "multiple", False), negative)
            for parameter in context.command.params
            for options, negative in ((parameter.opts, False), (parameter.secondary_opts, True))
            for option in options
            if option.startswith("--") and option not in ("--config", "--help")
        }
        context.default_map = {**(context.default_map or {}), **read_config(path, flags)}
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", is_eager=True, callback=_load, help="YAML file of flags; those given here win."),
]
