"""RadGraph, RaTEScore, GREEN and others through the package radeval, where it is installed with its models.

RadEval scores lists of texts and, asked for it, returns one value a sample; the statistics here are that value and a
one, so intervals and comparisons work as for any mean. Values are RadEval's own and are not checked against anything.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from radialog_bench.metrics.base import Floats, Metric, MetricError
from radialog_bench.metrics.lexical import mean, with_count
from radialog_instruct.errors import UsageError

KEYS: dict[str, tuple[str, ...]] = {
    "radgraph": ("radgraph_simple", "radgraph_partial", "radgraph_complete"),
    "ratescore": ("ratescore",),
    "green": ("green",),
    "radcliq": ("radcliq_v1",),
    "radeval_bertscore": ("radeval_bertscore",),
    "temporal": ("temporal_f1",),
}
"""RadEval's metric -> the keys under which it returns one value a sample."""
_LOWER_IS_BETTER = {"radcliq_v1"}
_MEND = "pip install radeval, with the models it names"


def radeval_metrics(names: Sequence[str]) -> list[tuple[Metric[str], str | None]]:
    """Return metrics computed by RadEval, each with the reason why it cannot be computed here, or None.

    Args:
        names: RadEval's names of the metrics.

    Raises:
        UsageError: If a name is unknown.
    """
    unknown = [name for name in names if name not in KEYS]
    if unknown:
        mend = f"choose from: {', '.join(KEYS)}"
        raise UsageError(f"no RadEval metric {unknown[0]!r}", where="--text-metrics", mend=mend)
    reason = None if importlib.util.find_spec("radeval") else f"the package radeval is not installed. {_MEND}"
    return [(_metric(name, key), reason) for name in dict.fromkeys(names) for key in KEYS[name]]


def _metric(name: str, key: str) -> Metric[str]:
    try:
        release = version("radeval")
    except PackageNotFoundError:
        release = "not-installed"
    return Metric(
        f"radeval_{key.removeprefix('radeval_')}",
        f"{key}|radeval:{release}|mean-of-samples|v1",
        partial(_statistics, name, key),
        mean,
        higher_is_better=key not in _LOWER_IS_BETTER,
    )


def _statistics(name: str, key: str, predictions: Sequence[str], references: Sequence[str]) -> Floats:
    scores = _scores(name, tuple(predictions), tuple(references))
    values = scores.get(key)
    if values is None or len(values) != len(predictions):
        raise MetricError(f"RadEval gave no {key} for each sample", mend=f"it gave: {', '.join(sorted(scores))}")
    return with_count(np.array(values, dtype=np.float64))


@cache
def _scorer(name: str) -> Any:
    # RadEval silences all warnings of the process when it starts.
    with warnings.catch_warnings():
        from radeval import RadEval

        return RadEval(metrics=[name], per_sample=True, show_progress=False)


_last: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], dict[str, list[float]]]] = {}
"""Metric -> the texts it scored last and what came of it: the keys of one metric share one pass."""


def _scores(name: str, predictions: tuple[str, ...], references: tuple[str, ...]) -> dict[str, list[float]]:
    texts = (predictions, references)
    if name not in _last or _last[name][0] != texts:
        try:
            found = _scorer(name)(refs=list(references), hyps=list(predictions))
        except Exception as error:
            # Anything may go wrong in a model of someone else's: the metric is null, the run goes on.
            raise MetricError(f"RadEval's {name} failed ({type(error).__name__}: {error})", mend=_MEND) from error
        _last[name] = (texts, {key: [_number(value) for value in values] for key, values in found.items()})
    return _last[name][1]


def _number(value: Any) -> float:
    number = float(value) if isinstance(value, (int, float)) or hasattr(value, "__float__") else math.nan
    if math.isnan(number):
        raise MetricError(f"RadEval returned {value!r} for a sample")
    return number
