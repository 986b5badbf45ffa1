"""From what ``--model`` says to an adapter."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.baselines import Constant, Echo, Oracle, Retrieval
from radialog_instruct.errors import ModelError, RadialogError, UsageError

GROUP = "radialog_bench.models"
"""Entry point group of third-party adapters; each entry names an adapter class."""
BUILT_IN: dict[str, type[Adapter]] = {kind.name: kind for kind in (Constant, Echo, Oracle, Retrieval)}


@dataclass(frozen=True)
class Scheme:
    """A prefix of ``--model`` that a built-in adapter serves.

    Attributes:
        adapter: ``module:Class``, imported when it is asked for.
        takes: What stands behind the colon.
        summary: What it is for.
    """

    adapter: str
    takes: str
    summary: str

    def load(self) -> type[Adapter]:
        """Import the adapter."""
        module, _, name = self.adapter.partition(":")
        kind: type[Adapter] = getattr(importlib.import_module(module), name)
        return kind


_HERE = "radialog_bench.adapters"
SCHEMES: dict[str, Scheme] = {
    "hf": Scheme(f"{_HERE}.hf:HuggingFace", "REPO_OR_FOLDER", "any image-text-to-text model of transformers"),
    "vllm": Scheme(f"{_HERE}.vllm:Vllm", "REPO_OR_FOLDER", "vLLM in this process"),
    "openai": Scheme(f"{_HERE}.openai:OpenAIChat", "MODEL", "an OpenAI-compatible server (--model-args base_url=URL)"),
    "script": Scheme(f"{_HERE}.script:Script", "COMMAND", "a program that reads and writes JSON lines, or ReXrank's"),
    "predictions": Scheme(f"{_HERE}.predictions:Predictions", "DIR", "answers made elsewhere, DIR/<evaluation>.jsonl"),
}
"""Prefixes of ``--model``. What stands behind the colon is the adapter's first argument."""


def model_names() -> tuple[str, ...]:
    """Return the names that ``--model`` takes: built-in ones and entry points."""
    return tuple(sorted({*BUILT_IN, *_plugins()}))


def load_adapter(spec: str, arguments: Mapping[str, Any] | None = None) -> Adapter:
    """Build an adapter.

    Args:
        spec: A built-in name, an entry point of ``radialog_bench.models``, a scheme such as ``hf:REPO``,
            ``module:Class`` or ``path/to/file.py:Class``.
        arguments: Keyword arguments of its constructor.

    Raises:
        UsageError: If there is no such model, or an argument is unknown.
        ModelError: If it cannot be imported or built, or is no adapter.
    """
    given = dict(arguments or {})
    prefix, colon, rest = spec.partition(":")
    if colon and prefix in SCHEMES:
        return _from_scheme(prefix, rest, spec, given)
    kind = BUILT_IN.get(spec) or _from_plugin(spec) or _from_code(spec)
    if kind is None:
        close = get_close_matches(spec, model_names(), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "see radialog-bench ls models"
        raise UsageError(f"no model {spec!r}", where="--model", mend=hint)
    return _build(kind, spec, given)


def _from_scheme(prefix: str, rest: str, spec: str, given: dict[str, Any]) -> Adapter:
    scheme = SCHEMES[prefix]
    if not rest:
        raise UsageError(f"nothing behind {prefix}:", where="--model", mend=f"give {prefix}:{scheme.takes}")
    kind = scheme.load()
    first = next(iter(inspect.signature(kind).parameters))
    if first in given:
        raise UsageError(f"{first!r} stands in --model already", where="--model-args", mend="give it once")
    return _build(kind, spec, {first: rest, **given})


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _from_plugin(spec: str) -> type[Any] | None:
    entry = _plugins().get(spec)
    if entry is None:
        return None
    try:
        return _class(entry.load(), spec)
    except RadialogError:
        raise
    except Exception as error:
        raise ModelError(
            f"the plug-in cannot be imported ({type(error).__name__}: {error})", where=f"{spec} = {entry.value}"
        ) from error


def _from_code(spec: str) -> type[Any] | None:
    """Load ``module:Class`` or ``file.py:Class``."""
    place, colon, name = spec.rpartition(":")
    if spec.removesuffix(":").endswith(".py"):
        place, name = spec.removesuffix(":"), ""
    elif not colon or not place or not name:
        return None
    path = Path(place)
    if path.suffix == ".py" and not path.is_file():
        raise UsageError("no such file", where=place, mend="check --model")
    try:
        module = _import_file(path) if path.suffix == ".py" else importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and place.split(".")[0] == error.name:
            close = get_close_matches(place, SCHEMES, n=1)
            hint = f"did you mean {close[0]}:{name}?" if close else "see radialog-bench ls models"
            raise UsageError(f"no module {place!r}", where="--model", mend=hint) from error
        raise ModelError(f"cannot be imported ({error})", where=place) from error
    except Exception as error:
        raise ModelError(f"cannot be imported ({type(error).__name__}: {error})", where=place) from error
    found = getattr(module, name, None) if name else None
    if found is None:
        what = f"no class {name!r}" if name else "no class named behind the file"
        raise UsageError(what, where=place, mend=_which_class(module, place))
    return _class(found, spec)


def _which_class(module: ModuleType, place: str) -> str:
    """Return what to write instead: the adapters that a module defines, else its classes."""
    own = {n: v for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__}
    adapters = [name for name, kind in own.items() if _can_answer(kind)]
    if adapters:
        return f"write {' or '.join(f'{place}:{name}' for name in adapters)}"
    return f"no class there has a method generate(requests); it has: {', '.join(own) or 'no class'}"


def _import_file(path: Path) -> ModuleType:
    name = f"_radialog_model_{path.stem}"
    description = importlib.util.spec_from_file_location(name, path)
    assert description is not None
    assert description.loader is not None
    module = importlib.util.module_from_spec(description)
    sys.modules[name] = module
    description.loader.exec_module(module)
    return module


def _class(found: object, spec: str) -> type[Any]:
    if not inspect.isclass(found) or not _can_answer(found):
        raise ModelError("is no adapter class", where=spec, mend="give a class with a method generate(requests)")
    return found


def _can_answer(kind: type[Any]) -> bool:
    return callable(getattr(kind, "generate", None))


def _build(kind: type[Any], spec: str, arguments: dict[str, Any]) -> Adapter:
    if not issubclass(kind, Adapter):
        # A class that only has generate() is enough; the defaults come from Adapter.
        kind = type(kind.__name__, (kind, Adapter), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        accepted = ", ".join(inspect.signature(kind).parameters) or "none"
        raise UsageError(f"{error}", where="--model-args", mend=f"{spec} takes: {accepted}") from error
    try:
        adapter = kind(**arguments)
    except RadialogError:
        raise
    except Exception as error:
        raise ModelError(f"cannot be built ({type(error).__name__}: {error})", where=spec) from error
    assert isinstance(adapter, Adapter)
    adapter.name = adapter.name or kind.__name__
    return adapter
