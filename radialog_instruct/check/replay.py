"""What a dataset's report says of the answers an LLM wrote: acceptance, reasons, tokens, and a few of the answers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from radialog_instruct.assets import demo_replay_dir
from radialog_instruct.build.manifest import Manifest
from radialog_instruct.check.rows import CheckedRow
from radialog_instruct.ids import rank
from radialog_instruct.replay.request import ReplayPolicy
from radialog_instruct.replay.summary import ReplaySummary, Spent, read_summaries
from radialog_instruct.tasks import REPLAY_TASKS

_SHOWN = 3
"""Answers of a task that are shown."""


@dataclass(frozen=True)
class TaskFacts:
    """One task's acceptance.

    Attributes:
        name: The task.
        planned: Samples the plan asked for.
        built: Rows.
        reasons: Why the others have no row, by reason.
    """

    name: str
    planned: int
    built: int
    reasons: dict[str, int]

    @property
    def accepted(self) -> float:
        """Share of the planned samples that became rows."""
        return self.built / self.planned if self.planned else 0.0


@dataclass(frozen=True)
class ReplayFacts:
    """All tasks that an LLM writes.

    Attributes:
        policy: Which requests were made.
        tasks: By task.
        runs: The summaries of the replay folder, one a worker.
    """

    policy: ReplayPolicy
    tasks: list[TaskFacts]
    runs: list[ReplaySummary]

    @property
    def tokens(self) -> dict[str, tuple[int, int]]:
        """Prompt and answer tokens by task, of all answers that were looked at."""
        sums: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for run in self.runs:
            for task, (prompt, completion) in run.tokens.items():
                sums[task] = sums[task][0] + prompt, sums[task][1] + completion
        return dict(sums)

    @property
    def not_taken(self) -> list[tuple[str, str, int]]:
        """Task, reason and number of answers that were not taken, the most frequent first."""
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for run in self.runs:
            for task, reasons in run.not_taken.items():
                for reason, n in reasons.items():
                    counts[task, reason] += n
        return sorted(((task, r, n) for (task, r), n in counts.items()), key=lambda row: (row[0], -row[2], row[1]))

    @property
    def spent(self) -> Spent:
        """What all runs together have spent."""
        return reduce(Spent.plus, (run.spent for run in self.runs), Spent())


def replay_facts(manifest: Manifest, folder: Path | None) -> ReplayFacts | None:
    """Return what is known of a dataset's replay, or None where it has none.

    Args:
        manifest: The dataset's manifest.
        folder: The replay folder, or None.

    Raises:
        DataError: If the folder is damaged.
    """
    policy = manifest.config.replay
    if policy is None:
        return None
    if folder is None and manifest.config.source == "demo":
        shipped = demo_replay_dir()
        folder = shipped if shipped.is_dir() else None
    rows = manifest.rows()
    tasks = []
    for name in REPLAY_TASKS:
        planned = sum(manifest.planned.get(name, {}).values())
        if planned:
            reasons: defaultdict[str, int] = defaultdict(int)
            for shard in manifest.shards.values():
                for reason, n in shard.replay.get(name, {}).items():
                    reasons[reason] += n
            tasks.append(TaskFacts(name, planned, sum(rows.get(name, {}).values()), dict(sorted(reasons.items()))))
    runs = [run for run in read_summaries(folder) if run.identity == policy.identity] if folder is not None else []
    return ReplayFacts(policy, tasks, runs)


@dataclass(frozen=True)
class Pair:
    """An answer and what it was made from."""

    task: str
    id: str
    report: str
    instruction: str
    answer: str


class Pairs:
    """Collects a few answers of each task that an LLM writes, chosen by hash.

    Args:
        seed: What the choice depends on.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._best: dict[str, list[tuple[int, Pair]]] = {}

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        if row.target_source != "llm" or len(row.contents) < 2:
            return
        report = row.contents[row.report_turn] if row.report_turn is not None else ""
        best = self._best.setdefault(row.task, [])
        best.append(
            (rank(0, "shown", self._seed, row.id), Pair(row.task, row.id, report, row.contents[-2], row.answer))
        )
        best.sort(key=lambda entry: entry[0])
        del best[_SHOWN:]

    def chosen(self) -> list[Pair]:
        """Return the pairs, by task."""
        return [pair for task in sorted(self._best) for _, pair in self._best[task]]
