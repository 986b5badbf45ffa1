"""What the commands that score share: settings from flags, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from radialog_instruct.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from radialog_bench.config import RunConfig
    from radialog_bench.run import Finished


_LISTS = ("protocols", "text_metrics")
_TEXT_SETTINGS = (*_LISTS, "bertscore_model", "bertscore_layer", "bertscore_baseline", "bertscore_prefix_space")
_NO_SETTINGS = ("output_dir", "as_json", "dry_run", "config_file")
"""Flags of ``run`` that say nothing of what is measured; those of a configuration file came in as the others."""


def say(message: str) -> None:
    """Print a line for the user on stderr."""
    print(f"radialog-bench: {message}", file=sys.stderr, flush=True)


def chosen_evaluations(names: str | None) -> tuple[str, ...]:
    """Read a comma list of evaluations.

    Raises:
        UsageError: If one is unknown or none is given.
    """
    from difflib import get_close_matches

    from radialog_bench.evaluations import EVALUATION_NAMES

    if names is None:
        return EVALUATION_NAMES
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in EVALUATION_NAMES:
            close = get_close_matches(name, EVALUATION_NAMES, n=1) or EVALUATION_NAMES
            raise UsageError(
                f"no evaluation {name!r}", where="--evaluations", mend=f"did you mean {' or '.join(close)}?"
            )
    if not wanted:
        raise UsageError(
            "no evaluation given", where="--evaluations", mend=f"choose from: {', '.join(EVALUATION_NAMES)}"
        )
    return tuple(name for name in EVALUATION_NAMES if name in wanted)


def comma_list(names: str | None) -> tuple[str, ...] | None:
    """Read a comma list; None stays None, and ``none`` is an empty one."""
    if names is None or names.strip() == "none":
        return None if names is None else ()
    return tuple(name.strip() for name in names.split(",") if name.strip())


def text_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the text metrics that were given.

    Args:
        given: A command's parameters by name.
    """
    values = {name: given[name] for name in _TEXT_SETTINGS if given[name] is not None}
    return {name: comma_list(value) if name in _LISTS else value for name, value in values.items()}


def run_settings(given: Mapping[str, Any]) -> RunConfig:
    """Read the flags of ``run``.

    Args:
        given: Its parameters by name.

    Raises:
        UsageError: If a value is not allowed.
    """
    from radialog_bench.selection import read_sample_ids

    own = {name: value for name, value in given.items() if name not in (*_NO_SETTINGS, *_TEXT_SETTINGS)}
    read: dict[str, Any] = {
        "model_args": model_arguments(given["model_args"] or []),
        "evaluations": chosen_evaluations(given["evaluations"]),
        "data": given["data"] or "demo",
        "sample_ids": None if given["sample_ids"] is None else read_sample_ids(given["sample_ids"]),
    }
    return run_config(**own | read | text_settings(given))


def run_config(**values: Any) -> RunConfig:
    """Build the run's configuration.

    Raises:
        UsageError: If a value is not allowed.
    """
    from pydantic import ValidationError

    from radialog_bench.config import RunConfig

    try:
        return RunConfig(**values)
    except ValidationError as error:
        raise _bad_flag(error) from error


def model_arguments(pairs: list[str]) -> dict[str, Any]:
    """Read key=value pairs; values are YAML scalars, so 4, 0.5, true and null have their types.

    Raises:
        UsageError: If a pair has no key or is given twice.
    """
    import yaml

    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{pair!r} is not key=value", where="--model-args", mend="for example: batch=4")
        if key in arguments:
            raise UsageError(f"{key!r} is given twice", where="--model-args", mend="give it once")
        # `off` is a mode's name here, not YAML 1.1's false.
        arguments[key] = value if value in ("on", "off", "yes", "no") else yaml.safe_load(value)
    return arguments


def replacing_settings(**given: Any) -> Callable[[RunConfig], RunConfig]:
    """Return a function that replaces the settings of a run by those that were given.

    Args:
        **given: Settings by name; None keeps what the run has.
    """
    from pydantic import ValidationError

    changes = {name: value for name, value in given.items() if value is not None}

    def changed(config: RunConfig) -> RunConfig:
        try:
            return type(config).model_validate({**config.model_dump(), **changes})
        except ValidationError as error:
            raise _bad_flag(error) from error

    return changed


def _bad_flag(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    flag = "--" + str(first["loc"][0]).replace("_", "-")
    return UsageError(f"{first['input']!r}: {first['msg']}", where=flag, mend="see radialog-bench run --help")


def end(finished: Finished, *, as_json: bool) -> None:
    """Print what a run came to, and end with its exit code.

    Args:
        finished: The run.
        as_json: Print ``results.json`` instead of a table.
    """
    from radialog_bench.run import exit_failed, nothing_scored
    from radialog_bench.tables import print_results

    for remark in finished.remarks:
        say(remark)
    _say_reasons(finished)
    if as_json:
        print(json.dumps(finished.results.model_dump(mode="json"), indent=2, sort_keys=True))
    else:
        print_results(finished.results, finished.folder)
    if nothing_scored(finished.results):
        say("nothing was scored")
        raise typer.Exit(int(ExitCode.NOTHING_SCORED))
    if exit_failed(finished.results):
        raise typer.Exit(int(ExitCode.FAILED_SAMPLES))


def _say_reasons(finished: Finished) -> None:
    reasons = {
        metric.unavailable
        for part in finished.results.evaluations.values()
        for metric in part.metrics.values()
        if metric.unavailable and part.n_scored
    }
    for reason in sorted(reasons):
        say(reason)
