"""What a replay came to: counts by task and reason, tokens and time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from radialog_instruct.errors import DataError, ExitCode
from radialog_instruct.files import write_json
from radialog_instruct.replay.request import ModelIdentity


class Spent(BaseModel):
    """What was spent: answers, tokens, and seconds with an engine, by the engine's name and version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    engines: tuple[str, ...] = ()

    def plus(self, other: Spent) -> Spent:
        """Return the sum."""
        return Spent(
            answered=self.answered + other.answered,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=round(self.seconds + other.seconds, 3),
            engines=tuple(sorted({*self.engines, *other.engines})),
        )


class ReplaySummary(BaseModel):
    """``summary.json``.

    Attributes:
        identity: The LLM.
        backend: The engine this run used, or None when every answer was there.
        engine_version: Its version.
        versions: Versions of what it ran on.
        samples: Samples by task.
        accepted: Of these, those with an accepted answer.
        rejected: Of these, those that were given up, by the first reason of their last answer.
        unanswered: Of these, those without an answer, by reason.
        not_taken: Answers that were not taken, by task and every reason that spoke against one.
        attempts: Accepted samples by the attempt that succeeded.
        tokens: Prompt and answer tokens by task, of all answers that were looked at.
        asked: Requests this run sent.
        answered: Of these, those that were answered.
        failed: Of these, those that failed.
        prompt_tokens: Prompt tokens of this run.
        completion_tokens: Answer tokens of this run.
        seconds: Time this run spent with the engine, its start not included.
        spent: The same over all runs of this folder that have ended.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: ModelIdentity
    backend: str | None
    engine_version: str | None
    versions: dict[str, str]
    samples: dict[str, int]
    accepted: dict[str, int]
    rejected: dict[str, dict[str, int]]
    unanswered: dict[str, dict[str, int]]
    not_taken: dict[str, dict[str, int]]
    attempts: dict[str, dict[int, int]]
    tokens: dict[str, list[int]]
    asked: int
    answered: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    spent: Spent

    def exit_code(self) -> ExitCode:
        """Return 0 when every sample is decided, 1 when some have no answer, 5 when not one was accepted."""
        if self.unanswered:
            return ExitCode.FAILED_SAMPLES
        if self.samples and not sum(self.accepted.values()):
            return ExitCode.NOTHING_SCORED
        return ExitCode.COMPLETE


def write_summary(folder: Path, summary: ReplaySummary, worker: tuple[int, int] | None) -> None:
    """Write a summary; each worker has one of its own.

    Raises:
        UsageError: If the folder cannot be written.
    """
    write_json(_path(folder, worker), summary.model_dump(mode="json"))


def earlier_spending(folder: Path, worker: tuple[int, int] | None) -> Spent:
    """Return what earlier runs have spent; a summary that cannot be read is as good as none."""
    try:
        return ReplaySummary.model_validate_json(_path(folder, worker).read_text(encoding="utf-8")).spent
    except (OSError, ValidationError):
        return Spent()


def _path(folder: Path, worker: tuple[int, int] | None) -> Path:
    return folder / (f"summary-{worker[0]:05d}-of-{worker[1]:05d}.json" if worker is not None else "summary.json")


def read_summaries(folder: Path) -> list[ReplaySummary]:
    """Read the summaries of a folder; there is none before the first run has ended.

    Raises:
        DataError: If one is damaged.
    """
    found = []
    for path in sorted(folder.glob("summary*.json")):
        try:
            found.append(ReplaySummary.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, ValidationError) as error:
            raise DataError(f"not a summary: {error}", where=str(path), mend="run replay again") from error
    return found


def print_summary(summary: ReplaySummary, folder: Path, *, as_json: bool) -> None:
    """Print a summary.

    Args:
        summary: The summary.
        folder: The replay folder.
        as_json: Print one JSON object instead of tables.
    """
    if as_json:
        print(json.dumps(summary.model_dump(mode="json"), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("task", "samples", "accepted", "rejected", "no answer", title="Replay", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for task, n in summary.samples.items():
        counts = (n, summary.accepted.get(task, 0), _sum(summary.rejected, task), _sum(summary.unanswered, task))
        table.add_row(task, *(f"{count:,}" for count in counts))
    console.print(table)
    reasons = Counter({(task, r, "not taken"): n for task, by in summary.not_taken.items() for r, n in by.items()})
    reasons.update({(task, r, "no answer"): n for task, by in summary.unanswered.items() for r, n in by.items()})
    if reasons:
        table = Table("task", "what", "because", "answers", title="Reasons", title_justify="left")
        table.columns[3].justify = "right"
        for (task, reason, what), n in sorted(reasons.items(), key=lambda item: (item[0][0], -item[1], item[0])):
            table.add_row(task, what, reason, f"{n:,}")
        console.print(table)
    speed = f", {summary.completion_tokens / summary.seconds:,.0f} tokens/s" if summary.seconds > 0 else ""
    asked = f"{summary.asked:,} requests sent, {summary.answered:,} answered, {summary.failed:,} failed"
    console.print(
        f"{asked}; {summary.prompt_tokens:,} prompt and {summary.completion_tokens:,} answer tokens"
        f" in {summary.seconds:,.1f} s{speed}"
        if summary.asked
        else "nothing was missing: no engine was started"
    )
    console.print(f"answers: {folder}", soft_wrap=True)


def _sum(counts: Mapping[str, Mapping[str, int]], task: str) -> int:
    return sum(counts.get(task, {}).values())
