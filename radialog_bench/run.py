"""One benchmark run: ask, log, score, write the run folder; running it again resumes it."""

from __future__ import annotations

import fcntl
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.registry import load_adapter
from radialog_bench.chat import Response
from radialog_bench.config import RunConfig
from radialog_bench.data import EvaluationData, RunData, bench_context, load_data
from radialog_bench.dialog import AskFailed
from radialog_bench.evaluations import Conversation
from radialog_bench.labelers import Labeler, default_labeler, open_labeler
from radialog_bench.responses import ResponseLog
from radialog_bench.results import EvaluationResult, ModelInfo, RunInfo, RunResults, SampleRecord
from radialog_bench.runner import LabelMany, Runner, RunnerSettings
from radialog_bench.scoring import ScoredPart, failures_of, not_asked, score_part
from radialog_instruct.errors import DataError, RadialogError, UsageError
from radialog_instruct.files import replacing, unwritable, write_json
from radialog_instruct.findings import Labels

RUN, RESULTS, REPORT = "run.json", "results.json", "report.html"
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
    adapter = load_adapter(config.model, config.model_args)
    try:
        data = load_data(config, adapter)
        labeler = open_labeler(config.labeler or default_labeler(data.info.source), config.chexbert, config.vocabulary)
        model = model_info(adapter, config)
        folder = output or default_folder(adapter.name, model.fingerprint)
        for notice in (*data.info.notices, *model.notices):
            announce(notice)
        with locked(folder):
            claim_folder(folder, config, model, data, command)
            announce(f"run folder: {folder}")
            return _run(config, folder, adapter, model, data, labeler, progress)
    finally:
        adapter.close()


def _run(
    config: RunConfig,
    folder: Path,
    adapter: Adapter,
    model: ModelInfo,
    data: RunData,
    labeler: Labeler,
    progress: Progress | None,
) -> Finished:
    from radialog_bench.report import write_report

    adapter.prepare(bench_context(data, config, labeler.label_many))
    evaluations: dict[str, EvaluationResult] = {}
    remarks: list[str] = []
    asked = from_log = 0
    answers: dict[str, Response] = {}
    for part in data.parts:
        name = part.evaluation.name
        if part.evaluation.needs_labeler and labeler.label_many is None:
            scored = not_asked(part, labeler)
        else:
            with ResponseLog(folder / "responses" / f"{name}.jsonl", answers) as log:
                if log.repaired:
                    remarks.append(f"{log.path.name}: a last line cut short by a crash was removed")
                runner = Runner(
                    adapter,
                    model.fingerprint,
                    log,
                    _labels_or_refuse(labeler),
                    RunnerSettings(config.batch_size, config.window),
                    partial(progress, name, len(part.samples)) if progress else bool,
                )
                outcomes = converse(runner, part, config)
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


def model_info(adapter: Adapter, config: RunConfig) -> ModelInfo:
    """Return the model's description; the fingerprint covers the adapter's own, its name and its arguments."""
    identity = json.dumps([adapter.name, adapter.fingerprint(), config.model_args], sort_keys=True, default=str)
    return ModelInfo(
        name=adapter.name,
        fingerprint=sha256(identity.encode()).hexdigest(),
        args=config.model_args,
        notices=tuple(adapter.notices),
    )


def default_folder(name: str, fingerprint: str) -> Path:
    """Return a new folder's path: ``runs/<model>/<utc>-<fingerprint>``."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return Path("runs") / safe / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{fingerprint[:8]}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process.

    Raises:
        UsageError: If it cannot be written, or another run holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise unwritable(folder, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError("another run is writing here", where=str(folder), mend="wait for it to end") from error
        yield


def claim_folder(folder: Path, config: RunConfig, model: ModelInfo, data: RunData, command: Sequence[str]) -> None:
    """Write ``run.json``, or check that the folder belongs to this very run.

    Raises:
        DataError: If the folder's ``run.json`` cannot be read.
        UsageError: If the folder belongs to another run, or holds other files.
    """
    path = folder / RUN
    if path.is_file():
        try:
            earlier = RunInfo.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            mend = "choose another --output-dir"
            raise DataError("not a run of this version", where=str(path), mend=mend) from error
        differences = _differences(earlier, config, model, data)
        if differences:
            mend = "choose another --output-dir, or the settings of that run"
            raise UsageError(f"belongs to a run with another {' and '.join(differences)}", where=str(folder), mend=mend)
        return
    if any(child.name != ".lock" for child in folder.iterdir()):
        raise UsageError("the folder holds other files", where=str(folder), mend="choose an empty or new folder")
    info = RunInfo(
        command=tuple(command),
        config=config.identity(),
        model=model,
        data=data.info,
        versions=_versions(),
        git=_git(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(path, info.model_dump(mode="json"))


def write_samples(path: Path, records: Sequence[SampleRecord]) -> None:
    """Write one record a line, atomically."""
    with replacing(path) as temporary:
        lines = "".join(record.model_dump_json() + "\n" for record in records)
        temporary.write_text(lines, encoding="utf-8")


def write_statistics(path: Path, scored: ScoredPart) -> None:
    """Write the sufficient statistics of every metric, atomically, for comparisons between runs.

    The file holds ``ids`` and ``clusters`` [n] and, by the name of each metric, its statistics [n, k].

    Args:
        path: The file.
        scored: The scored evaluation.
    """
    sheet = scored.sheet
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, ids=scored.ids, clusters=list(sheet.clusters), **sheet.statistics)  # type: ignore[arg-type]


def _labels_or_refuse(labeler: Labeler) -> LabelMany:
    if labeler.label_many is not None:
        return labeler.label_many

    def refuse(texts: Sequence[str]) -> list[Labels]:
        raise DataError(labeler.unavailable or "no labeler", where=f"{len(texts)} texts to label")

    return refuse


def _differences(earlier: RunInfo, config: RunConfig, model: ModelInfo, data: RunData) -> list[str]:
    found = []
    if earlier.model.fingerprint != model.fingerprint:
        found.append("model")
    if earlier.data.manifest_sha256 != data.info.manifest_sha256:
        found.append("data")
    settings = config.identity()
    found += [name for name in settings if earlier.config.get(name) != settings[name] and name != "model_args"]
    return found


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("radialog", "numpy", "nltk", "torch", "transformers", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git() -> dict[str, str | bool] | None:
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def exit_failed(results: RunResults) -> bool:
    """Tell whether samples failed or a metric could not be computed."""
    return any(
        part.n_error or any(metric.value is None for metric in part.metrics.values())
        for part in results.evaluations.values()
    )


def nothing_scored(results: RunResults) -> bool:
    """Tell whether not one sample was scored."""
    return all(part.n_scored == 0 for part in results.evaluations.values())


def as_command(arguments: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the command line of this process."""
    return ("radialog-bench", *(sys.argv[1:] if arguments is None else arguments))
