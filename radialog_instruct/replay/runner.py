"""Runs a replay: passes over the samples until none waits for an answer.

A pass walks all samples, follows each one's attempts through the cache, and hands what is missing to the backend,
which answers while the walk goes on. Re-asks belong to the next pass. No pass holds more than the requests that are
under way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from radialog_instruct.build.engine import Progress as BuildProgress
from radialog_instruct.build.engine import open_reader, plan_dataset
from radialog_instruct.build.plan import Plan
from radialog_instruct.build.scan import usable
from radialog_instruct.build.shards import build_tasks
from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.errors import RadialogError, UsageError
from radialog_instruct.prompts import PromptLibrary
from radialog_instruct.records import Sample
from radialog_instruct.replay.backends.base import Backend, Result
from radialog_instruct.replay.cache import Answer, AnswerCache, Engine
from radialog_instruct.replay.folder import answer_files, claim, open_answers, worker_file
from radialog_instruct.replay.request import ReplayPolicy, ReplayRequest, Sampling
from radialog_instruct.replay.resolve import Missing, Rejected, Resolver
from radialog_instruct.replay.summary import ReplaySummary, Spent, earlier_spending, write_summary
from radialog_instruct.replay.tally import Rejects, Tally
from radialog_instruct.tasks import REPLAY_TASKS, ReplayTask


@dataclass(frozen=True)
class ReplayJob:
    """What a replay works on.

    Attributes:
        policy: Which requests are made.
        folder: The replay folder.
        worker: Number and count of workers that share the samples, or None.
        limit: Samples at most, or None for all.
    """

    policy: ReplayPolicy
    folder: Path
    worker: tuple[int, int] | None = None
    limit: int | None = None


@dataclass(frozen=True)
class ReplayProgress:
    """Who is told how far a replay is.

    Attributes:
        plan: The stages of planning.
        begin: Called with the number of a pass and the samples it walks.
        samples: Called with the number of samples walked since the last call.
        answers: Called with the answers so far and their tokens.
    """

    plan: BuildProgress = field(default_factory=BuildProgress)
    begin: Callable[[int, int], object] = max
    samples: Callable[[int], object] = bool
    answers: Callable[[int, int], object] = max


def run_replay(
    config: BuildConfig,
    places: BuildPlaces,
    job: ReplayJob,
    open_backend: Callable[[], Backend],
    progress: ReplayProgress | None = None,
) -> ReplaySummary:
    """Ask for everything a build of this configuration will want to know.

    Args:
        config: The build's configuration; only its replay tasks matter.
        places: Where the source lies.
        job: What is asked, and where the answers go.
        open_backend: Starts the engine; not called when no answer is missing.
        progress: Told about the progress.

    Returns:
        The summary, as written to ``summary.json``. When the engine failed in between, the error is raised after
        everything that had finished was committed and the summary was written.

    Raises:
        RadialogError: If the source, the folder or the engine cannot be used.
    """
    told = progress if progress is not None else ReplayProgress()
    mixture = config.mixture
    tasks = {name: mix for name, mix in mixture.tasks.items() if name in REPLAY_TASKS}
    if not tasks:
        mend = f"take one of: {', '.join(REPLAY_TASKS)}"
        raise UsageError("no task whose answers an LLM writes", where="--mixture, --tasks", mend=mend)
    config = config.model_copy(update={"mixture": mixture.model_copy(update={"tasks": tasks})})
    plan = plan_dataset(config, places, told.plan)
    claim(job.folder, job.policy)
    with ExitStack() as stack:
        cache = stack.enter_context(AnswerCache(worker_file(job.folder, job.worker), writable=True))
        run = _Run(config, places, job, plan, cache, told)
        # Engines print what they like; stdout is the summary's.
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.callback(run.close)
        try:
            run.passes(open_backend)
        except RadialogError:
            cache.commit()
            run.recount()
            write_summary(job.folder, run.summary(), job.worker)
            raise
        summary = run.summary()
        write_summary(job.folder, summary, job.worker)
    return summary


class _Run:
    def __init__(
        self,
        config: BuildConfig,
        places: BuildPlaces,
        job: ReplayJob,
        plan: Plan,
        cache: AnswerCache,
        told: ReplayProgress,
    ) -> None:
        self._config, self._places, self._job, self._told = config, places, job, told
        self._reader = open_reader(config, places)
        made = build_tasks(config, places, plan.selection)
        self._tasks = tuple(task for task in made if isinstance(task, ReplayTask))
        self._unusable = {name: reason for part in plan.unusable_images for name, reason in part.items()}
        self._total = min(plan.total(), job.limit) if job.limit is not None else plan.total()
        self._resolver = Resolver(job.policy, PromptLibrary(places.templates))
        self._cache = cache
        # Other workers' answers count as well: samples of different workers may ask the same.
        self._others = [open_answers(path) for path in answer_files(job.folder) if path != cache.path]
        self._backend: Backend | None = None
        self._engine: Engine | None = None
        self._under_way: dict[bytes, Sampling] = {}
        self._failed: dict[bytes, str] = {}
        self._tally = Tally()
        self._asked = self._answered = self._prompt_tokens = self._completion_tokens = 0
        self._seconds = 0.0
        self._earlier = earlier_spending(job.folder, job.worker)

    def passes(self, open_backend: Callable[[], Backend]) -> None:
        number = 0
        while True:
            number += 1
            self._told.begin(number, self._total)
            with Rejects(self._job.folder, self._job.worker) as rejects:
                self._tally = Tally()
                missing = self._missing(rejects)
                first = next(missing, None)
                if first is None:
                    rejects.keep()
                    return
                if self._backend is None:
                    self._backend = open_backend()
                    self._engine = _engine(self._job.policy, self._backend)
                    if self._recover(self._backend):
                        missing.close()
                        self._under_way.clear()
                        continue  # what came back may answer what seemed to be missing
                self._ask(self._backend, _chained(first, missing))

    def recount(self) -> None:
        """Count again what is there, after the engine failed in the middle of a pass."""
        with Rejects(self._job.folder, self._job.worker) as rejects:
            self._tally = Tally()
            for _ in self._missing(rejects):
                pass
            rejects.keep()

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()
        for cache in self._others:
            cache.close()

    def summary(self) -> ReplaySummary:
        tally, engine = self._tally, self._engine
        now = Spent(
            answered=self._answered,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            seconds=self._seconds,
            engines=(f"{engine.name} {engine.version}",) if engine is not None and self._answered else (),
        )
        return ReplaySummary(
            identity=self._job.policy.identity,
            backend=engine.name if engine is not None else None,
            engine_version=engine.version if engine is not None else None,
            versions=dict(engine.versions) if engine is not None else {},
            samples=dict(sorted(tally.samples.items())),
            accepted=dict(sorted(tally.accepted.items())),
            rejected={task: dict(sorted(reasons.items())) for task, reasons in sorted(tally.rejected.items())},
            unanswered={task: dict(sorted(reasons.items())) for task, reasons in sorted(tally.unanswered.items())},
            not_taken={task: dict(sorted(reasons.items())) for task, reasons in sorted(tally.not_taken.items())},
            attempts={task: dict(sorted(counts.items())) for task, counts in sorted(tally.attempts.items())},
            tokens={task: list(tokens) for task, tokens in sorted(tally.tokens.items())},
            asked=self._asked,
            answered=self._answered,
            failed=len(self._failed),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            seconds=round(self._seconds, 3),
            spent=self._earlier.plus(now),
        )

    def _lookup(self, key: bytes) -> Answer | None:
        answer = self._cache.get(key)
        for cache in self._others:
            if answer is not None:
                break
            answer = cache.get(key)
        return answer

    def _missing(self, rejects: Rejects) -> Generator[ReplayRequest]:
        """Walk all samples and yield the requests that nobody has answered and that are not under way."""
        for task, sample in self._samples():
            outcome = self._resolver.resolve(task, sample, self._lookup)
            self._tally.count(task.name, outcome, self._failed)
            if isinstance(outcome, Rejected):
                rejects.write(task.name, sample, outcome)
            elif isinstance(outcome, Missing):
                key = outcome.request.key
                if key not in self._under_way and key not in self._failed:
                    self._under_way[key] = outcome.request.sampling
                    yield outcome.request

    def _samples(self) -> Iterator[tuple[ReplayTask, Sample]]:
        left = self._job.limit
        for study in self._reader.studies():
            kept = usable(study, self._unusable, self._config.images)
            if kept is None:
                continue
            for task in self._tasks:
                for sample in task.samples(kept):
                    if not isinstance(sample, Sample) or not self._is_ours(sample):
                        continue
                    if left == 0:
                        return
                    left = left - 1 if left is not None else None
                    self._told.samples(1)
                    yield task, sample

    def _is_ours(self, sample: Sample) -> bool:
        if self._job.worker is None:
            return True
        number, workers = self._job.worker
        return int.from_bytes(self._resolver.base_key(sample)[-8:], "big") % workers == number

    def _recover(self, backend: Backend) -> int:
        return sum(self._keep(result, sampling) for sampling, result in backend.recovered())

    def _ask(self, backend: Backend, requests: Iterator[ReplayRequest]) -> None:
        began = time.monotonic()
        results = backend.generate(requests)
        try:
            for result in results:
                if result is None:
                    self._cache.commit()
                    continue
                self._take(result)
            # Asked again for ever, if an engine that loses a request were trusted to find it next time.
            self._failed |= dict.fromkeys(self._under_way, "the engine gave no result")
        finally:
            self._seconds += time.monotonic() - began
            self._under_way.clear()
        self._cache.commit()

    def _take(self, result: Result) -> None:
        sampling = self._under_way.pop(result.key, None)
        if sampling is None:
            return  # answered twice by the engine: the first answer stays
        self._asked += 1
        if result.failure is not None or result.text is None:
            self._failed[result.key] = result.failure or "no text"
            return
        self._answered += 1
        self._prompt_tokens += result.prompt_tokens
        self._completion_tokens += result.completion_tokens
        self._keep(result, sampling)
        self._told.answers(self._answered, self._completion_tokens)

    def _keep(self, result: Result, sampling: Sampling) -> bool:
        assert self._engine is not None
        answer = Answer(
            text=result.text or "",
            finish_reason=result.finish_reason,
            prompt_tokens=result.prompt_tokens,
            completion_tokens=result.completion_tokens,
            engine=self._engine,
            sampling=sampling,
            created=int(time.time()),
        )
        return self._cache.add(result.key, answer)


def _engine(policy: ReplayPolicy, backend: Backend) -> Engine:
    return Engine(policy.identity, backend.name, backend.version(), tuple(sorted(backend.versions().items())))


def _chained(first: ReplayRequest, rest: Iterator[ReplayRequest]) -> Iterator[ReplayRequest]:
    yield first
    yield from rest
