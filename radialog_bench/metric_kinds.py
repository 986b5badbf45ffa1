"""Rebuilds the metrics a stored run was scored with: their functions live in the code, only numbers in the folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from radialog_bench.config import RunConfig
from radialog_bench.evaluations import EVALUATIONS, Evaluation
from radialog_bench.evaluations.pairs import Pairs
from radialog_bench.labelers import Labeler
from radialog_bench.metrics.base import Metric
from radialog_bench.results import EvaluationResult, MetricResult
from radialog_bench.scoring import scoring_settings
from radialog_bench.sheet import Sheet
from radialog_bench.stored import StoredRun
from radialog_instruct.errors import DataError

_LABELER = re.compile(r"labeler:([^|]+)")


def metrics_of(name: str, run: StoredRun) -> Mapping[str, Metric[Any]]:
    """Return the metrics of an evaluation by name, where this version still computes them as the run did.

    An evaluation that scores nothing fills its sheet with the metrics it would compute.

    Args:
        name: The evaluation.
        run: The run.

    Raises:
        DataError: If the evaluation is unknown, or the run has settings of another version.
    """
    stored = run.results.evaluations[name]
    config = stored_config(run.info.config, str(run.folder / "run.json"))
    evaluation = _evaluation(name, config, run)
    sheet = Sheet([], scoring_settings(config, _labeler(stored.metrics.values())))
    evaluation.score([], [], sheet)
    return {metric: kind for metric, kind in sheet.kinds.items() if _is_same(kind, stored)}


def stored_config(run_config: Mapping[str, Any], where: str) -> RunConfig:
    """Return the configuration in ``run.json``.

    Raises:
        DataError: If it has settings that this version does not know.
    """
    try:
        return RunConfig(**run_config)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"a run with settings of another version ({first['loc'][0]}: {first['msg']})"
        raise DataError(what, where=where, mend="run or score it with the version that made it") from error


def _evaluation(name: str, config: RunConfig, run: StoredRun) -> Evaluation:
    kinds: dict[str, type[Evaluation]] = {Pairs.name: Pairs, **{kind.name: kind for kind in EVALUATIONS}}
    if name not in kinds:
        raise DataError(f"this version has no evaluation {name!r}", where=str(run.folder))
    return kinds[name](config.options())


def _labeler(stored: Iterable[MetricResult]) -> Labeler:
    found = (_LABELER.search(metric.signature) for metric in stored)
    signature = next((match[1] for match in found if match), "none")
    return Labeler(signature, signature, lambda _: [])


def _is_same(kind: Metric[Any], stored: EvaluationResult) -> bool:
    """Tell whether a metric is computed as it was: by the first and last part of its signature, name and version.

    What stands between (a tokeniser, an encoder) made the statistics and does not change how their sums are read.
    """
    if kind.name not in stored.metrics:
        return False
    one, two = kind.signature.split("|"), stored.metrics[kind.name].signature.split("|")
    return (one[0], one[-1]) == (two[0], two[-1])
