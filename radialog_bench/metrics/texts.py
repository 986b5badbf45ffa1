"""All metrics over texts that a run asks for, and why some of them cannot be computed here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from radialog_bench.metrics.base import Floats, Metric, MetricError
from radialog_bench.metrics.bertscore import BertScoreSettings, bertscore_metric
from radialog_bench.metrics.lexical import mean
from radialog_bench.metrics.meteor import meteor_metric, why_no_meteor
from radialog_bench.metrics.protocols import protocol_metrics
from radialog_bench.metrics.radeval_bridge import radeval_metrics

GROUP = "radialog_bench.metrics"
"""Entry point group of third-party metrics; each entry names a function that returns metrics over texts."""
DEFAULT_PROTOCOLS = ("radialog",)

Unavailable = list[tuple[Metric[str], str]]


def text_metrics(
    protocols: Sequence[str] = DEFAULT_PROTOCOLS,
    bertscore: BertScoreSettings | None = None,
    *,
    meteor: bool = True,
    radeval: Sequence[str] = (),
    plugins: bool = True,
) -> tuple[list[Metric[str]], Unavailable]:
    """Return the metrics over texts.

    Args:
        protocols: Protocols of BLEU and ROUGE; ``radialog`` has the plain names.
        bertscore: How BERTScore is computed; None leaves it out.
        meteor: Whether METEOR is among them.
        radeval: RadEval's metrics to be computed through its package.
        plugins: Whether installed plug-ins add theirs.

    Returns:
        Those that can be computed, and those that cannot with the reason.

    Raises:
        UsageError: If there is no such protocol or RadEval metric.
    """
    ready: list[Metric[str]] = [metric for name in dict.fromkeys(protocols) for metric in protocol_metrics(name)]
    missing: Unavailable = []
    offers: list[tuple[Metric[str], str | None]] = []
    if meteor:
        offers.append((meteor_metric(), why_no_meteor()))
    if bertscore is not None:
        offers.append(bertscore_metric(bertscore))
    offers += radeval_metrics(radeval)
    if plugins:
        offers += plugin_metrics({metric.name for metric in (*ready, *(metric for metric, _ in offers))})
    for metric, reason in offers:
        if reason is None:
            ready.append(metric)
        else:
            missing.append((metric, reason))
    return ready, missing


def plugin_metrics(taken: Collection[str] = ()) -> list[tuple[Metric[str], str | None]]:
    """Return the metrics of all installed plug-ins, each with the reason why it cannot be computed, or None.

    A plug-in that cannot be imported stands as one metric under its own name: it is never silently left out, and never
    breaks what others compute.

    Args:
        taken: Names that plug-ins must not use.
    """
    offers: list[tuple[Metric[str], str | None]] = []
    names = set(taken)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        for metric, reason in _offers(entry):
            if metric.name in names:
                why = f"the plug-in {entry.name} = {entry.value} names a metric {metric.name!r}, which there is already"
                offers.append((replace(metric, name=f"{entry.name}.{metric.name}"), why))
            else:
                names.add(metric.name)
                offers.append((metric, reason))
    return offers


def _offers(entry: EntryPoint) -> list[tuple[Metric[str], str | None]]:
    place = f"{entry.name} = {entry.value}"
    try:
        found: list[Any] = list(entry.load()())
        strangers = [type(metric).__name__ for metric in found if not isinstance(metric, Metric)]
        reason = f"the plug-in {place} returned {strangers[0]}, not a Metric" if strangers else None
    except Exception as error:  # noqa: BLE001 - foreign code; the reason is shown
        reason = f"the plug-in {place} failed ({type(error).__name__}: {error})"
    if reason is not None:
        return [(Metric(entry.name, f"{entry.name}|plug-in:{place}", _nothing, mean), reason)]
    return [(replace(metric, statistics=partial(_guarded, metric, place)), None) for metric in found]


def _nothing(predictions: Sequence[str], references: Sequence[str]) -> Floats:
    raise MetricError(f"there is no metric for {len(predictions)} answers and {len(references)} references")


def _guarded(metric: Metric[str], place: str, predictions: Sequence[str], references: Sequence[str]) -> Floats:
    """Compute a plug-in's statistics; whatever goes wrong in foreign code makes its metric null."""
    try:
        statistics = np.asarray(metric.statistics(predictions, references), dtype=np.float64)
    except Exception as error:
        raise MetricError(f"the plug-in {place} failed ({type(error).__name__}: {error})") from error
    if statistics.ndim != 2 or len(statistics) != len(predictions):
        raise MetricError(f"the plug-in {place} returned statistics of shape {statistics.shape}, not [n, k]")
    return statistics
