"""What a replay has seen so far: counts by task and reason, and the answers that were not taken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from radialog_instruct.files import replacing
from radialog_instruct.ids import sample_id
from radialog_instruct.records import Sample
from radialog_instruct.replay.cache import Answer
from radialog_instruct.replay.folder import REJECTED
from radialog_instruct.replay.resolve import Accepted, Missing, Rejected
from radialog_instruct.tasks import REPLAY_TASKS

_WAITS = "no answer yet"


class Tally:
    """What one pass has seen, by task.

    Attributes:
        samples: Samples.
        accepted: Samples with an accepted answer.
        rejected: Samples that were given up, by the first reason of their last answer.
        unanswered: Samples without an answer, by reason.
        not_taken: Answers that were not taken, by reason.
        attempts: Accepted samples by the attempt that succeeded.
        tokens: Prompt and answer tokens of all answers that were looked at.
    """

    def __init__(self) -> None:
        self.samples: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.rejected: dict[str, Counter[str]] = {}
        self.unanswered: dict[str, Counter[str]] = {}
        self.not_taken: dict[str, Counter[str]] = {}
        self.attempts: dict[str, Counter[int]] = {}
        self.tokens: dict[str, tuple[int, int]] = {}

    def count(self, task: str, outcome: Accepted | Rejected | Missing, failed: Mapping[bytes, str]) -> None:
        """Count a sample.

        Args:
            task: Its task.
            outcome: What became of it.
            failed: Requests that failed in this run, by key, with the reason.
        """
        self.samples[task] += 1
        if isinstance(outcome, Missing):
            reason = failed.get(outcome.request.key, _WAITS)
            self.unanswered.setdefault(task, Counter())[reason.partition(":")[0]] += 1
            return
        for attempt in outcome.attempts:
            self.not_taken.setdefault(task, Counter()).update(attempt.verdict.reasons)
            self._add_tokens(task, attempt.answer)
        if isinstance(outcome, Rejected):
            self.rejected.setdefault(task, Counter()).update(outcome.reasons[:1])
        else:
            self.accepted[task] += 1
            self.attempts.setdefault(task, Counter())[len(outcome.attempts) + 1] += 1
            self._add_tokens(task, outcome.answer)

    def _add_tokens(self, task: str, answer: Answer) -> None:
        prompt, completion = self.tokens.get(task, (0, 0))
        self.tokens[task] = prompt + answer.prompt_tokens, completion + answer.completion_tokens


class Rejects:
    """The answers that were not taken, with reasons: ``rejected/<task>.jsonl``, written anew by the last pass.

    Args:
        folder: The replay folder.
        worker: Number and count of workers, or None; each worker has files of its own.
    """

    def __init__(self, folder: Path, worker: tuple[int, int] | None) -> None:
        self._folder = folder / REJECTED
        self._suffix = f"-{worker[0]:05d}-of-{worker[1]:05d}" if worker is not None else ""
        self._kept = False
        self._handles: dict[str, TextIO] = {}
        self._paths: dict[str, Path] = {}

    def __enter__(self) -> Rejects:
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles.values():
            handle.close()
        for name, path in self._paths.items():
            if self._kept:
                with replacing(self._folder / f"{name}{self._suffix}.jsonl") as temporary:
                    path.replace(temporary)
            else:
                path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Keep what this pass writes, in place of what the last run wrote."""
        self._kept = True
        for name in REPLAY_TASKS:
            if name not in self._paths:
                (self._folder / f"{name}{self._suffix}.jsonl").unlink(missing_ok=True)

    def write(self, task: str, sample: Sample, outcome: Rejected) -> None:
        """Write a sample that was given up, with all its answers."""
        handle = self._handles.get(task)
        if handle is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._paths[task] = self._folder / f".{task}{self._suffix}.pass"
            handle = self._handles[task] = path.open("w", encoding="utf-8")
        image_id = sample.image.image_id if sample.image is not None else ""
        record = {
            "id": sample_id(task, sample.study.source, sample.study.study_id, image_id, sample.slot),
            "study_id": sample.study.study_id,
            "task": task,
            "attempts": [
                {
                    "request": attempt.request.key.hex(),
                    "reasons": list(attempt.verdict.reasons),
                    "text": attempt.answer.text,
                }
                for attempt in outcome.attempts
            ],
        }
        handle.write(json.dumps(record, ensure_ascii=False) + "\n")
