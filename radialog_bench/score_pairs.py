"""Scores the pairs of a file into a run folder like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from radialog_bench.adapters.base import Adapter
from radialog_bench.chat import Request, Response
from radialog_bench.config import RunConfig
from radialog_bench.data import EvaluationData, RunData, manifest_sha256
from radialog_bench.evaluations.base import EvalSample
from radialog_bench.evaluations.pairs import NO_IMAGE, Pairs
from radialog_bench.labelers import default_labeler, open_labeler
from radialog_bench.pairs import SOURCE, PairFile, read_pairs
from radialog_bench.results import DataInfo
from radialog_bench.run import Finished, model_info, write_run
from radialog_bench.run_folder import Job
from radialog_instruct.files import file_sha256


class FileAnswers(Adapter):
    """Answers with the predictions of a file.

    Args:
        pairs: The file.
    """

    needs_images = False

    def __init__(self, pairs: PairFile) -> None:
        self.name = pairs.root.stem
        self._texts = {f"{SOURCE}/{pair.id}": pair.prediction for pair in pairs.pairs}
        self._digest = file_sha256(pairs.root)

    def fingerprint(self) -> str:
        """Return the hash of the file."""
        return self._digest

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Look the texts up."""
        for request in requests:
            text = self._texts[request.id]
            if text is None:
                yield Response.failure(request.id, "missing", "the file has no prediction for this id")
            else:
                yield Response(request.id, text)


def score_pairs(
    path: Path,
    output: Path,
    changed: Callable[[RunConfig], RunConfig],
    command: Sequence[str],
    *,
    announce: Callable[[str], object] = bool,
) -> Finished:
    """Score the pairs of a file.

    Args:
        path: The file.
        output: The run folder.
        changed: Sets how to score.
        command: The command line, for ``run.json``.
        announce: Told about keys that mean nothing, and the folder.

    Raises:
        DataError: If the file cannot be used.
        UsageError: If a setting or the folder cannot be used.
    """
    pairs = read_pairs(path)
    for key, n in sorted(pairs.unused.items()):
        announce(f"{path}: {key!r} is not used ({n:,} lines)")
    config = changed(RunConfig(model=SOURCE, evaluations=(Pairs.name,), data=SOURCE, split="all"))
    labeler = open_labeler(config.labeler or default_labeler(SOURCE), config.chexbert, config.vocabulary)
    adapter = FileAnswers(pairs)
    job = Job(config, adapter, model_info(adapter, config), pair_data(pairs, config), labeler)
    return write_run(job, output, command, announce=announce)


def pair_data(pairs: PairFile, config: RunConfig) -> RunData:
    """Return the data of a run over pairs; only pairs with the same ids and references are the same data."""
    evaluation = Pairs(config.options())
    samples = tuple(EvalSample(f"{SOURCE}/{pair.id}", pair.study(), NO_IMAGE, pair.reference) for pair in pairs.pairs)
    parts = (EvaluationData(evaluation, samples, {}),)
    info = DataInfo(
        source=SOURCE,
        split=config.split,
        terms=pairs.terms,
        manifest_sha256=manifest_sha256(parts),
        n_studies=len({pair.study_id for pair in pairs.pairs}),
    )
    return RunData(pairs, info, parts)
