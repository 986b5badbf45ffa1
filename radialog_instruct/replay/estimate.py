"""What a replay will cost, before any engine is there: rows, tokens, GPU-hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from radialog_instruct.build.engine import open_reader
from radialog_instruct.build.plan import Plan
from radialog_instruct.build.shards import build_tasks
from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.records import Sample
from radialog_instruct.tasks import ReplayTask

SAMPLED = 200
"""Samples of a task that are rendered."""
CHARACTERS_PER_TOKEN = 4
"""English medical text under the tokenizers of common LLMs has between 3.8 and 4.5."""
_MAX_STUDIES = 5000
_ANSWER_CHARACTERS = {"summarization": 150, "easy_language": 420, "region_qa": 110}
"""Typical lengths; a correction is as long as its draft."""


@dataclass(frozen=True)
class TaskEstimate:
    """One task's rows and tokens."""

    rows: int
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class ReplayEstimate:
    """All tasks an LLM writes.

    Attributes:
        tasks: By task.
        tokens_per_second: Answer tokens a second and GPU that were assumed.
    """

    tasks: dict[str, TaskEstimate]
    tokens_per_second: float

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU; reading the prompts is within the rate, because they share most of their text."""
        return sum(task.answer_tokens for task in self.tasks.values()) / self.tokens_per_second / 3600

    def as_json(self) -> dict[str, Any]:
        """Return the estimate for ``--json``."""
        return {**asdict(self), "gpu_hours": round(self.gpu_hours, 3)}


def estimate_replay(plan: Plan, config: BuildConfig, places: BuildPlaces, tokens_per_second: float) -> ReplayEstimate:
    """Estimate the tokens of a plan's replay tasks from a few rendered requests.

    Args:
        plan: The plan.
        config: What it was made for.
        places: Where the source lies.
        tokens_per_second: Answer tokens a second and GPU.

    Raises:
        RadialogError: If the source cannot be read.
    """
    rows = {task: sum(by_split.values()) for task, by_split in plan.rows.items()}
    made = build_tasks(config, places, plan.selection)
    tasks = [task for task in made if isinstance(task, ReplayTask) and rows.get(task.name)]
    seen: Counter[str] = Counter()
    prompts: defaultdict[str, int] = defaultdict(int)
    answers: defaultdict[str, int] = defaultdict(int)
    studies = open_reader(config, places).studies() if tasks else iter(())
    for number, study in enumerate(studies):
        if number == _MAX_STUDIES or all(seen[task.name] >= SAMPLED for task in tasks):
            break
        for task in tasks:
            if seen[task.name] >= SAMPLED:
                continue
            for sample in task.samples(study):
                if isinstance(sample, Sample) and sample.ask is not None:
                    seen[task.name] += 1
                    prompts[task.name] += sum(len(turn.content) for turn in sample.ask.messages)
                    draft = sample.turns[sample.report_turn].content if sample.report_turn is not None else ""
                    answers[task.name] += _ANSWER_CHARACTERS.get(task.name, len(draft))
    return ReplayEstimate(
        {
            task.name: TaskEstimate(
                rows[task.name],
                _scaled(prompts[task.name], rows[task.name], seen[task.name]),
                _scaled(answers[task.name], rows[task.name], seen[task.name]),
            )
            for task in tasks
        },
        tokens_per_second,
    )


def _scaled(characters: int, rows: int, sampled: int) -> int:
    return round(characters / max(sampled, 1) * rows / CHARACTERS_PER_TOKEN)
