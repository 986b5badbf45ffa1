"""The one metric of an evaluation that a glance should fall on."""

from __future__ import annotations

from collections.abc import Mapping

from radialog_bench.results import MetricResult


def headline_of(wanted: str, metrics: Mapping[str, MetricResult]) -> str | None:
    """Return an evaluation's headline metric, or its first with a value where that has none.

    Args:
        wanted: The metric the evaluation declares.
        metrics: Its metrics by name.
    """
    order = [name for name in (wanted, *metrics) if name in metrics]
    return next((name for name in order if metrics[name].value is not None), next(iter(order), None))
