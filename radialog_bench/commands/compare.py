"""``radialog-bench compare``: two runs on the same samples, with paired tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, get_args

import typer

from radialog_bench.commands.config_file import ConfigFile
from radialog_bench.comparison import TESTS, Comparison, TestName
from radialog_instruct.errors import ExitCode, UsageError


def compare(
    a: Annotated[Path, typer.Argument(help="Run folder of the baseline.")],
    b: Annotated[Path, typer.Argument(help="Run folder that is compared with it.")],
    test: Annotated[
        list[str] | None,
        typer.Option(help="bootstrap, randomisation or mcnemar; may be given several times, all by default."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=0, help="Resamples of bootstrap and randomisation.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Their seed.")] = 0,
    evaluations: Annotated[str | None, typer.Option("--evaluations", "-e", help="Comma list; all by default.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Comma list; all by default. Holm's correction goes over these.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare what the runs have in common although they differ in kind.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the comparison as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison as a page.")] = None,
    include_text: Annotated[
        bool, typer.Option("--include-text", help="Show texts of credentialed sources on the page.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON instead of a table.")] = False,
    config: ConfigFile = None,
) -> None:
    """Compare two runs on the same samples: differences, 95 % intervals, paired tests, Holm's correction.

    Differences are B minus A. Runs with other data, versions or signatures are refused with exit code 3.
    """
    from radialog_bench.compare import compare_runs
    from radialog_bench.compare_part import CompareSettings
    from radialog_bench.metric_kinds import metrics_of
    from radialog_bench.report.comparison import write_comparison
    from radialog_bench.stored import load_run
    from radialog_bench.tables_compare import print_comparison
    from radialog_instruct.files import write_json

    del config  # its values came in as flags
    settings = CompareSettings(
        tests=chosen_tests(test or list(TESTS)),
        resamples=resamples,
        seed=seed,
        evaluations=_list(evaluations),
        metrics=_list(metrics),
        force=force,
    )
    comparison = compare_runs(load_run(a), load_run(b), settings, metrics_of)
    document = comparison.model_dump(mode="json")
    if output is not None:
        write_json(output, document)
    if html is not None:
        page = write_comparison(comparison, html, a, b, include_text=include_text)
        typer.echo(f"radialog-bench: wrote {page}", err=True)
    if as_json:
        print(json.dumps(document, indent=2, sort_keys=True))
    else:
        print_comparison(comparison)
    code = exit_code(comparison)
    if code is not ExitCode.COMPLETE:
        raise typer.Exit(int(code))


def chosen_tests(names: list[str]) -> tuple[TestName, ...]:
    """Read the names of tests.

    Raises:
        UsageError: If one is unknown.
    """
    wanted = [name.strip() for given in names for name in given.split(",")]
    for name in wanted:
        if name not in get_args(TestName):
            raise UsageError(f"no test {name!r}", where="--test", mend=f"choose from: {', '.join(TESTS)}")
    return tuple(test for test in TESTS if test in wanted)


def exit_code(comparison: Comparison) -> ExitCode:
    """Return how a comparison ended: a metric that could not be compared is a failure, none at all another."""
    metrics = [metric for part in comparison.evaluations.values() for metric in part.metrics.values()]
    missing = sum(metric.difference is None for metric in metrics)
    if missing == len(metrics):
        return ExitCode.NOTHING_SCORED
    return ExitCode.FAILED_SAMPLES if missing else ExitCode.COMPLETE


def _list(names: str | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(name.strip() for name in names.split(",") if name.strip())
