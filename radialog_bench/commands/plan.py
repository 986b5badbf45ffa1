"""``radialog-bench run --dry-run``: what a run would ask."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from radialog_bench.commands.settings import say
from radialog_instruct.errors import ExitCode

if TYPE_CHECKING:
    from radialog_bench.config import RunConfig


def show_plan(config: RunConfig, output: Path | None, *, as_json: bool) -> None:
    """Print what a run would ask, and end with the exit code it could at best have.

    Args:
        config: The run.
        output: The run folder, or None.
        as_json: Print JSON instead of a table.
    """
    from rich.console import Console
    from rich.table import Table

    from radialog_bench.dry_run import plan_run

    plan = plan_run(config, output)
    for notice in plan.notices:
        say(notice)
    if as_json:
        print(json.dumps(asdict(plan), indent=2))
    else:
        console = Console(highlight=False)
        table = Table("evaluation", "samples", "asks at least", "images", "images present")
        for column in table.columns[1:]:
            column.justify = "right"
        for part in plan.parts:
            numbers = (part.samples, part.asks_at_least, part.images, part.images_present)
            table.add_row(part.name, *(f"{number:,}" for number in numbers))
        console.print(f"{plan.model} on {config.data}, split {config.split}; labeler {plan.labeler}", markup=False)
        console.print(table)
        for part in plan.parts:
            for reason, n in part.left_out.items():
                console.print(f"  {part.name}: {n:,} x {reason}", markup=False, soft_wrap=True)
    if plan.resumes:
        say("the folder holds this run: what its log answers is not asked again")
    if plan.labeler_missing is not None:
        say(plan.labeler_missing)
    say("dry run: nothing was asked or written")
    if plan.exit_code is not ExitCode.COMPLETE:
        raise typer.Exit(int(plan.exit_code))
