"""Runs all checks over a dataset in one pass."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.check.leakage import AnswerInPrompt, OfficialSplits, PatientInOneSplit, RepeatedText
from radialog_instruct.check.quality import Files, Schema, Targets, WrittenAnswers, YesNoBalance
from radialog_instruct.check.results import CheckResult
from radialog_instruct.check.rows import CheckedRow, data_files, read_rows
from radialog_instruct.errors import DataError
from radialog_instruct.mixtures import TaskMix
from radialog_instruct.tasks import Overlap


class _RowCheck(Protocol):
    result: CheckResult

    def see(self, row: CheckedRow) -> None: ...

    def finish(self) -> None: ...


class _Seer(Protocol):
    def see(self, row: CheckedRow) -> None: ...


def check_dataset(folder: Path, *seers: _Seer | None) -> list[CheckResult]:
    """Check a dataset.

    Args:
        folder: A built dataset.
        *seers: Also told about every row.

    Returns:
        One result a check.

    Raises:
        DataError: If there is no dataset, or a file of it cannot be read.
    """
    files = data_files(folder)
    manifest = read_manifest(folder)
    overlap = manifest.config.overlap if manifest is not None else Overlap.STRICT
    mixes = manifest.config.mixture.tasks if manifest is not None else {}
    told = [seer for seer in seers if seer is not None]
    by_file = Files(folder, manifest, files)
    checks: tuple[_RowCheck, ...] = (
        Schema(files),
        PatientInOneSplit(overlap),
        OfficialSplits(folder, overlap),
        AnswerInPrompt(),
        YesNoBalance(
            mixes.get("findings_qa_binary", TaskMix()).yes_fraction,
            balanced_structured=mixes.get("rad_restruct_qa", TaskMix()).balanced,
        ),
        Targets(),
        WrittenAnswers(),
        RepeatedText(),
    )
    for file in files:
        for row in read_rows(folder, file):
            for check in checks:
                check.see(row)
            for seer in told:
                seer.see(row)
    for check in checks:
        check.finish()
    return [by_file.result, *(check.result for check in checks)]


def print_checks(results: list[CheckResult], folder: Path, *, as_json: bool) -> None:
    """Print the results, and raise when a check failed.

    Args:
        results: The results.
        folder: The dataset.
        as_json: Print one JSON object instead of a table.

    Raises:
        DataError: If a check failed.
    """
    if as_json:
        print(json.dumps([{**asdict(result), "passed": result.passed} for result in results], indent=2))
    else:
        _print_table(results)
    failed = [result for result in results if not result.passed]
    if failed:
        names = ", ".join(result.name for result in failed)
        raise DataError(f"{len(failed)} of {len(results)} checks failed ({names})", where=str(folder))


def _print_table(results: list[CheckResult]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("check", "result", "looked at", "failed", "question")
    for column in table.columns[2:4]:
        column.justify = "right"
    for result in results:
        outcome = "[green]pass[/]" if result.passed else "[bold red]FAIL[/]"
        table.add_row(result.name, outcome, f"{result.checked:,}", f"{result.failed:,}", result.question)
    console.print(table)
    for result in results:
        for remark, n in sorted(result.counted.items()):
            console.print(f"counted: {remark}: {n:,}", soft_wrap=True)
    for result in results:
        for where in result.named:
            console.print(f"{result.name}: {where}", soft_wrap=True, style="red")
        if result.failed > len(result.named):
            console.print(f"{result.name}: and {result.failed - len(result.named):,} more", style="red")
