"""``radialog-bench selfcheck``: does this installation score as it should, and does a model keep the contract?"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radialog_bench.adapters.registry import load_adapter
from radialog_bench.config import RunConfig
from radialog_bench.results import MetricResult
from radialog_bench.run import Finished, run_benchmark
from radialog_bench.run_folder import RESULTS
from radialog_bench.testing import ConformanceReport, check_adapter, demand, outcome

_TOLERANCE = 1e-6
"""Below it a metric stands at its ceiling: a BLEU of identical texts is 1 - 1e-9 by its smoothing."""


def check_model(model: str, arguments: Mapping[str, Any]) -> ConformanceReport:
    """Check a model as ``--model`` names it.

    Raises:
        RadialogError: If it cannot be built.
    """
    adapter = load_adapter(model, arguments)
    try:
        return check_adapter(adapter)
    finally:
        adapter.close()


def check_installation() -> ConformanceReport:
    """Run baselines on the demonstration collection: the reference must reach every ceiling, a constant must not."""
    with tempfile.TemporaryDirectory(prefix="radialog-selfcheck-") as folder:
        baselines = _Baselines(Path(folder))
        checks = [
            ("the reference reaches every ceiling", baselines.oracle),
            ("a constant stays below", baselines.constant),
            ("a run that is repeated asks nothing and scores the same", baselines.resume),
            ("every metric can be computed", baselines.available),
        ]
        done = tuple(outcome(name, check) for name, check in checks)
    return ConformanceReport("radialog-bench", done, ("works", "does not work"))


class _Baselines:
    """Runs of the baselines in a scratch folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[str, Finished] = {}

    def oracle(self) -> str | None:
        metrics = self._metrics("oracle")
        demand(bool(metrics), "nothing was scored")
        low = {
            name: (metric.value, metric.ceiling)
            for name, metric in metrics.items()
            if metric.value is not None and metric.ceiling is not None and _gap(metric) > _TOLERANCE
        }
        demand(not low, f"{len(low)} of {len(metrics)} do not: {low}")
        return None

    def constant(self) -> str | None:
        for name, part in self._run("constant").results.evaluations.items():
            headline = part.metrics.get(part.headline)
            # What the reference itself leaves at 0 (it corrects nothing in its own report) ranks nobody.
            if headline is not None and headline.value is not None and headline.ceiling != 0:
                demand(_gap(headline) > _TOLERANCE, f"{name}: {part.headline} is {headline.value}")
        return None

    def resume(self) -> str | None:
        before = (self._folder / "oracle" / RESULTS).read_bytes()
        again = run_benchmark(_config("oracle"), self._folder / "oracle", ("selfcheck",))
        demand(again.asked == 0, f"{again.asked} requests were asked again")
        demand((self._folder / "oracle" / RESULTS).read_bytes() == before, "results.json differs")
        return None

    def available(self) -> str | None:
        missing = {m.unavailable: name for name, m in self._metrics("oracle").items() if m.unavailable}
        return "; ".join(f"{name}: {reason}" for reason, name in sorted(missing.items())) or None

    def _metrics(self, model: str) -> dict[str, MetricResult]:
        parts = self._run(model).results.evaluations.items()
        return {f"{name} {key}": metric for name, part in parts for key, metric in part.metrics.items()}

    def _run(self, model: str) -> Finished:
        if model not in self._runs:
            self._runs[model] = run_benchmark(_config(model), self._folder / model, ("selfcheck",))
        return self._runs[model]


def _config(model: str) -> RunConfig:
    return RunConfig(model=model, bootstrap=0)


def _gap(metric: MetricResult) -> float:
    """Return how far a metric is from its ceiling, or from 1 where it stores none."""
    assert metric.value is not None
    ceiling = 1.0 if metric.ceiling is None else metric.ceiling
    return ceiling - metric.value if metric.higher_is_better else metric.value - ceiling
