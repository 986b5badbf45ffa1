"""One benchmark run: ask, log, score, write the run folder; running it again resumes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.registry import load_adapter
from radialog_bench.config import RunConfig, default_text_metrics
from radialog_bench.data import EvaluationData, RunData, bench_context, load_data
from radialog_bench.dialog import AskFailed
from radialog_bench.evaluations import Conversation
from radialog_bench.labelers import Labeler, default_labeler, open_labeler
from radialog_bench.privacy import without_secrets
from radialog_bench.responses import Index, ResponseLog
from radialog_bench.results import EvaluationResult, ModelInfo, RunInfo, RunResults, Speed
from radialog_bench.run_folder import (
    RESULTS,
    RUN,
    Job,
    claim_folder,
    default_folder,
    locked,
    write_samples,
    write_statistics,
)
from radialog_bench.runner import LabelMany, Runner, RunnerSettings
from radialog_bench.scoring import failures_of, not_asked, score_part
from radialog_bench.speed import Stopwatch, speed_of, write_speed
from radialog_bench.watchdog import closed_in_time
from radialog_instruct.errors import DataError, RadialogError
from radialog_instruct.files import write_json
from radialog_instruct.findings import Labels

Progress = Callable[[str, int, int], None]
"""Told the evaluation, all its samples, and how many are finished."""


@dataclass(frozen=True)
class Finished:
    """What a run came to.

    Attributes:
        folder: The run folder.
        results: The scores.
        asked: Requests sent to the model.
        from_log: Requests answered from the log.
        remarks: What the user should be told.
    """

    folder: Path
    results: RunResults
    asked: int
    from_log: int
    remarks: tuple[str, ...]


class SampleFailedError(RadialogError):
    """A sample failed in a run with ``--on-error fail``."""


def run_benchmark(
    config: RunConfig,
    output: Path | None,
    command: Sequence[str],
    *,
    announce: Callable[[str], object] = bool,
    progress: Progress | None = None,
) -> Finished:
    """Run the configured evaluations and write the run folder.

    Args:
        config: The run.
        output: The run folder, or None for a new one under ``runs/``.
        command: The command line, for ``run.json``.
        announce: Told each notice and the run folder before the model is asked.
        progress: Told about finished samples.

    Raises:
        RadialogError: If data, model or folder cannot be used; ``exit_code`` says which.
    """
    adapter = open_model(config)
    try:
        data = load_data(config, adapter)
        config = settled(config, data)
        labeler = open_labeler(config.labeler or default_labeler(data.info.source), config.chexbert, config.vocabulary)
        model = model_info(adapter, config)
        folder = output or default_folder(adapter.name, model.fingerprint)
        job = Job(config, adapter, model, data, labeler)
        return write_run(job, folder, command, announce=announce, progress=progress)
    finally:
        closed_in_time(adapter.close)


def write_run(
    job: Job,
    folder: Path,
    command: Sequence[str],
    *,
    announce: Callable[[str], object] = bool,
    progress: Progress | None = None,
) -> Finished:
    """Hold all dialogs, score them, and write the run folder; a folder of the same run is resumed.

    Args:
        job: What the run is made from.
        folder: The run folder.
        command: The command line, for ``run.json``.
        announce: Told each notice and the run folder first.
        progress: Told about finished samples.

    Raises:
        RadialogError: If the folder cannot be used, or the model breaks its contract.
    """
    for notice in (*job.data.info.notices, *job.model.notices):
        announce(notice)
    with locked(folder):
        info = claim_folder(folder, job, command)
        announce(f"run folder: {folder}")
        return _run(job, folder, info, progress)


def _run(job: Job, folder: Path, info: RunInfo, progress: Progress | None) -> Finished:
    from radialog_bench.leaderboard import write_entry
    from radialog_bench.report import write_report

    config, adapter, model, data, labeler = job.config, job.adapter, job.model, job.data, job.labeler
    adapter.prepare(bench_context(data, config, labeler.label_many))
    evaluations: dict[str, EvaluationResult] = {}
    remarks: list[str] = []
    asked = from_log = 0
    speed: dict[str, Speed] = {}
    answers: Index = {}
    for part in data.parts:
        name = part.evaluation.name
        if part.evaluation.needs_labeler and labeler.label_many is None:
            scored = not_asked(part, config, labeler)
        else:
            watch = Stopwatch()
            # Each evaluation looks up in the logs what it had itself.
            shared = answers if job.origin is None else {}
            with ResponseLog(folder / "responses" / f"{name}.jsonl", shared) as log:
                if log.repaired:
                    remarks.append(f"{log.path.name}: a last line cut short by a crash was removed")
                runner = Runner(
                    job.adapter_for(name),
                    model.fingerprint,
                    log,
                    watch.without(_labels_or_refuse(labeler)),
                    runner_settings(config, adapter),
                    partial(progress, name, len(part.samples)) if progress else bool,
                )
                with watch.running():
                    outcomes = converse(runner, part, config)
            sitting = speed_of(runner.stats.asked, watch.seconds, log.usage, info.speed.get(name))
            speed |= {name: sitting} if sitting is not None and job.origin is None else {}
            asked, from_log = asked + runner.stats.asked, from_log + runner.stats.from_log
            scored = score_part(part, outcomes, config, labeler)
        evaluations[name] = scored.result
        first = next((record.error for record in scored.records if record.error), None)
        if first is not None:
            remarks.append(f"{name}: {scored.result.n_error} of {scored.result.n} samples failed, first: {first}")
        write_samples(folder / "samples" / f"{name}.jsonl", scored.records)
        write_statistics(folder / "statistics" / f"{name}.npz", scored)
    results = RunResults(model=model, data=data.info, evaluations=evaluations)
    write_json(folder / RESULTS, results.model_dump(mode="json"))
    write_speed(folder / RUN, info, speed)
    write_entry(folder)
    write_report(folder, include_text=config.include_text)
    return Finished(folder, results, asked, from_log, tuple(remarks))


def converse(runner: Runner, part: EvaluationData, config: RunConfig) -> list[Conversation | AskFailed]:
    """Hold all dialogs of an evaluation; outcomes come back in the samples' order.

    Raises:
        SampleFailedError: If a question failed and the run is to end then.
    """
    outcomes: list[Conversation | AskFailed | None] = [None] * len(part.samples)
    for index, outcome in runner.run(part.evaluation.dialog(sample) for sample in part.samples):
        failed = failures_of(outcome)
        if failed and config.on_error == "fail":
            mend = "or score on with --on-error zero"
            raise SampleFailedError(str(failed[0].message), where=part.samples[index].id, mend=mend)
        outcomes[index] = outcome
    return [outcome for outcome in outcomes if outcome is not None]


def settled(config: RunConfig, data: RunData) -> RunConfig:
    """Return the configuration with what follows from its data, so that ``run.json`` says what was scored."""
    if config.text_metrics is not None:
        return config
    return config.model_copy(update={"text_metrics": default_text_metrics(data.info.source)})


def open_model(config: RunConfig) -> Adapter:
    """Build the model, or as many copies as the run wants.

    Raises:
        RadialogError: If it cannot be built.
    """
    if config.replicas == 1:
        return load_adapter(config.model, config.model_args)
    from radialog_bench.adapters.replicas import ReplicatedAdapter

    return ReplicatedAdapter(
        config.model,
        config.model_args,
        replicas=config.replicas,
        batch_size=config.batch_size,
        num_gpus=config.gpus_per_replica,
    )


def runner_settings(config: RunConfig, adapter: Adapter) -> RunnerSettings:
    """Return how the runner works: a batch for every copy, and a watch over an adapter that cannot watch itself."""
    batch = config.batch_size * config.replicas
    watched = config.timeout is not None and not adapter.limit_silence(config.timeout)
    return RunnerSettings(batch, max(config.window, batch), config.timeout if watched else None)


def model_info(adapter: Adapter, config: RunConfig) -> ModelInfo:
    """Return the model's description.

    The fingerprint covers the adapter's own, its name, and the arguments that may change an answer.
    """
    arguments = {name: value for name, value in config.model_args.items() if name not in adapter.free_arguments}
    identity = json.dumps([adapter.name, adapter.fingerprint(), arguments], sort_keys=True, default=str)
    return ModelInfo(
        name=adapter.name,
        fingerprint=sha256(identity.encode()).hexdigest(),
        args=without_secrets(config.model_args),
        notices=tuple(adapter.notices),
    )


def _labels_or_refuse(labeler: Labeler) -> LabelMany:
    if labeler.label_many is not None:
        return labeler.label_many

    def refuse(texts: Sequence[str]) -> list[Labels]:
        raise DataError(labeler.unavailable or "no labeler", where=f"{len(texts)} texts to label")

    return refuse


def exit_failed(results: RunResults) -> bool:
    """Tell whether samples failed or a metric could not be computed.

    An evaluation that the data have no sample for is no failure.
    """
    return any(
        part.n_error or any(metric.value is None for metric in part.metrics.values())
        for part in results.evaluations.values()
        if part.n
    )


def nothing_scored(results: RunResults) -> bool:
    """Tell whether not one sample was scored."""
    return all(part.n_scored == 0 for part in results.evaluations.values())


def as_command(arguments: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the command line of this process."""
    return ("radialog-bench", *(sys.argv[1:] if arguments is None else arguments))
