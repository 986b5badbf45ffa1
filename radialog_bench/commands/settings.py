"""What the commands that score share: settings from flags, and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialog_instruct.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from radialog_bench.config import RunConfig
    from radialog_bench.run import Finished


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


Protocols = Annotated[
    str | None, typer.Option(help="Protocols of BLEU and ROUGE: radialog (the default), radeval, rexrank.")
]
TextMetrics = Annotated[
    str | None,
    typer.Option(help="Comma list of meteor, bertscore, radeval:NAME, or none; all but the demo: meteor,bertscore."),
]
BertscoreModel = Annotated[str | None, typer.Option(help="BERTScore's encoder; distilroberta-base by default.")]
BertscoreLayer = Annotated[int | None, typer.Option(min=0, help="Its layer, where bert-score has no choice for it.")]
BertscoreBaseline = Annotated[str | None, typer.Option(help="A baseline file of bert-score's form, or none.")]


def comma_list(names: str | None) -> tuple[str, ...] | None:
    """Read a comma list; None stays None, and ``none`` is an empty one."""
    if names is None or names.strip() == "none":
        return None if names is None else ()
    return tuple(name.strip() for name in names.split(",") if name.strip())


def text_settings(
    protocols: str | None,
    text_metrics: str | None,
    bertscore_model: str | None,
    bertscore_layer: int | None,
    bertscore_baseline: str | None,
) -> dict[str, Any]:
    """Return the settings of the text metrics that were given."""
    given = {
        "protocols": comma_list(protocols),
        "text_metrics": comma_list(text_metrics),
        "bertscore_model": bertscore_model,
        "bertscore_layer": bertscore_layer,
        "bertscore_baseline": bertscore_baseline,
    }
    return {name: value for name, value in given.items() if value is not None}


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
            first = error.errors()[0]
            flag = "--" + str(first["loc"][0]).replace("_", "-")
            raise UsageError(f"{first['input']!r}: {first['msg']}", where=flag, mend="see --help") from error

    return changed


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
