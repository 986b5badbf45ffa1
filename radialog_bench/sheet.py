"""The score sheet of an evaluation: metrics with their statistics, tables, counts, and scores of each sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from radialog_bench.labelers import Labeler
from radialog_bench.metrics.base import Floats, Item, Metric, MetricError
from radialog_bench.metrics.statistics import evaluate_metric, sample_scores, unavailable
from radialog_bench.metrics.texts import TextSettings
from radialog_bench.results import MetricResult, Table


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """How answers are scored.

    Attributes:
        labeler: The labeler of clinical efficacy.
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap.
        n_error: Samples that failed and count as the worst answer.
        texts: Which metrics over texts are wanted.
    """

    labeler: Labeler
    resamples: int = 0
    seed: int = 0
    n_error: int = 0
    texts: TextSettings = field(default_factory=TextSettings)


@dataclass
class Sheet:
    """What an evaluation fills in when it scores.

    Attributes:
        clusters: The patient of each sample.
        settings: How to score.
        metrics: Results by name.
        kinds: The metrics themselves by name; their ``value`` maps summed statistics to a score.
        statistics: Name -> [n, k] sufficient statistics, one row a sample.
        tables: Tables by name.
        counts: Answers that could not be parsed, by reason.
        parsed: The parsed answer of each sample, or None where parsing means nothing.
        reference_parsed: The parsed reference of each sample.
        per_sample: Scores of each sample by metric.
    """

    clusters: Sequence[str]
    settings: ScoringSettings
    metrics: dict[str, MetricResult] = field(default_factory=dict)
    kinds: dict[str, Metric[Any]] = field(default_factory=dict)
    statistics: dict[str, Floats] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    parsed: list[str | None] = field(default_factory=list)
    reference_parsed: list[str | None] = field(default_factory=list)
    per_sample: list[dict[str, float | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parsed = self.parsed or [None] * len(self.clusters)
        self.reference_parsed = self.reference_parsed or [None] * len(self.clusters)
        self.per_sample = self.per_sample or [{} for _ in self.clusters]

    def add(
        self,
        metric: Metric[Item],
        predictions: Sequence[Item],
        references: Sequence[Item],
        *,
        shown: bool = False,
        best: Sequence[Item] | None = None,
        ceiling: bool = True,
        n_error: int | None = None,
    ) -> None:
        """Score a metric.

        Args:
            metric: The metric.
            predictions: One parsed answer a sample.
            references: One reference a sample.
            shown: Whether each sample shows its own score.
            best: What the references themselves would be read as, where this is not the references; it gives the
                ceiling.
            ceiling: Whether what the references would score is a ceiling at all; it is none for a change.
            n_error: Samples whose answer to this metric failed; None takes all samples that failed somewhere.
        """
        settings = self.settings
        try:
            statistics, result = evaluate_metric(
                metric,
                predictions,
                references,
                self.clusters,
                best=best,
                n_error=settings.n_error if n_error is None else n_error,
                resamples=settings.resamples,
                seed=settings.seed,
            )
        except MetricError as error:
            self.unavailable([metric], str(error))
            return
        if not ceiling:
            result = result.model_copy(update={"ceiling": None})
        self.metrics[metric.name], self.kinds[metric.name] = result, metric
        self.statistics[metric.name] = statistics
        if shown:
            for row, score in zip(self.per_sample, sample_scores(metric, statistics), strict=True):
                row[metric.name] = score

    def unavailable(self, metrics: Iterable[Metric[Any]], reason: str) -> None:
        """Note metrics that could not be computed: null with the reason, never zero."""
        n, n_error = len(self.clusters), self.settings.n_error
        for metric in metrics:
            self.metrics[metric.name] = unavailable(metric, reason, n=n, n_error=n_error)
            self.kinds[metric.name] = metric
