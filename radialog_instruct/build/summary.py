"""The counts of a plan or of a finished build, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from radialog_instruct.build.manifest import MANIFEST_NAME, Manifest
from radialog_instruct.build.plan import Plan
from radialog_instruct.config import BuildConfig
from radialog_instruct.records import Split
from radialog_instruct.replay.estimate import CHARACTERS_PER_TOKEN, SAMPLED, ReplayEstimate

Counts = Mapping[str, Mapping[str, int]]


def print_summary(manifest: Manifest, out: Path, *, as_json: bool) -> None:
    """Print what was built and everything that was left out, with its reason.

    Args:
        manifest: The build's manifest.
        out: The dataset's folder.
        as_json: Print one JSON object instead of tables.
    """
    rows, skipped = manifest.rows(), manifest.left_out()
    facts = (manifest.studies, rows, skipped, manifest.rejected, manifest.images_left_out, manifest.notes)
    if as_json:
        head = {"manifest": str(out / MANIFEST_NAME), "fingerprint": manifest.fingerprint}
        print(json.dumps(head | _as_json(*facts), indent=2))
        return
    _print_tables(manifest.config, *facts)
    Console(highlight=False).print(f"manifest: {out / MANIFEST_NAME}", soft_wrap=True)


def print_plan(plan: Plan, config: BuildConfig, replay: ReplayEstimate, *, as_json: bool) -> None:
    """Print what would be built.

    Args:
        plan: The plan.
        config: What it was made for.
        replay: What an LLM would have to write.
        as_json: Print one JSON object instead of tables.
    """
    facts = (plan.studies, plan.rows, plan.skipped, plan.rejected, plan.images_left_out(), plan.notes)
    if as_json:
        mixture = config.mixture.model_dump(mode="json")
        print(json.dumps({"mixture": mixture, **_as_json(*facts), "replay": replay.as_json()}, indent=2))
        return
    _print_tables(config, *facts)
    if replay.tasks:
        _print_estimate(replay)


def _print_estimate(replay: ReplayEstimate) -> None:
    console = Console(highlight=False)
    table = Table("task", "rows", "prompt tokens", "answer tokens", title="For an LLM to write", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for task, one in replay.tasks.items():
        table.add_row(task, f"{one.rows:,}", f"{one.prompt_tokens:,}", f"{one.answer_tokens:,}")
    console.print(table)
    console.print(
        f"estimated at {CHARACTERS_PER_TOKEN} characters a token from up to {SAMPLED} samples a task, re-asks and shared "
        f"requests not counted; {replay.gpu_hours:,.2g} GPU-hours at {replay.tokens_per_second:,.0f} answer tokens/s"
    )


def _print_tables(
    config: BuildConfig,
    studies: Mapping[str, int],
    rows: Counts,
    skipped: Counts,
    rejected: Mapping[str, int],
    images: Mapping[str, int],
    notes: Mapping[str, int],
) -> None:
    console = Console(highlight=False)
    console.print(_rows_table(config, studies, rows))
    left_out = [
        *(("source", reason, n) for reason, n in rejected.items()),
        *(("images", reason, n) for reason, n in images.items()),
        *((task, reason, n) for task, reasons in skipped.items() for reason, n in reasons.items()),
    ]
    if left_out:
        table = Table("where", "left out because", "n", title="Left out", title_justify="left")
        table.columns[2].justify = "right"
        for where, reason, n in left_out:
            table.add_row(where, reason, f"{n:,}")
        console.print(table)
    for note, n in notes.items():
        console.print(f"note: {note}: {n:,}")
    expected, total = config.mixture.expected_total, sum(n for by_split in rows.values() for n in by_split.values())
    if expected is not None and total < expected:
        console.print(
            f"note: the mixture {config.mixture.name!r} aims at {expected:,} rows over all sources and tasks; "
            f"these are {total:,}, {expected - total:,} fewer"
        )


def _rows_table(config: BuildConfig, studies: Mapping[str, int], rows: Counts) -> Table:
    counted = ", ".join(f"{split.value} {studies.get(split.value, 0):,}" for split in Split)
    title = f"Rows of {config.source}, mixture {config.mixture.name} (studies: {counted})"
    names = [split.value for split in Split]
    table = Table("task", *names, "all", title=title, title_justify="left", show_footer=True)
    for column in table.columns[1:]:
        column.justify = "right"
    for task in config.tasks:
        by_split = rows.get(task, {})
        table.add_row(task, *(f"{by_split.get(name, 0):,}" for name in names), f"{sum(by_split.values()):,}")
    sums = [sum(by_split.get(name, 0) for by_split in rows.values()) for name in names]
    for column, value in zip(table.columns, ("all", *(f"{n:,}" for n in (*sums, sum(sums)))), strict=True):
        column.footer = value
    return table


def _as_json(
    studies: Mapping[str, int],
    rows: Counts,
    skipped: Counts,
    rejected: Mapping[str, int],
    images: Mapping[str, int],
    notes: Mapping[str, int],
) -> dict[str, object]:
    return {
        "studies": dict(studies),
        "rows": {task: dict(by_split) for task, by_split in rows.items()},
        "total": sum(n for by_split in rows.values() for n in by_split.values()),
        "skipped": {task: dict(reasons) for task, reasons in skipped.items()},
        "rejected": dict(rejected),
        "images_left_out": dict(images),
        "notes": dict(notes),
    }
