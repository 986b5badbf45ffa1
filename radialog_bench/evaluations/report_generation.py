"""Report generation: an image in, the findings section out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from radialog_bench.chat import Generation, Request
from radialog_bench.evaluations.base import (
    EvalSample,
    Evaluation,
    LeftOut,
    Scores,
    ScoringSettings,
    sample_key,
)
from radialog_bench.metrics import (
    clinical_metrics,
    evaluate_metric,
    lexical_metrics,
    per_class_table,
    sample_scores,
    unavailable,
)
from radialog_bench.metrics.base import Metric
from radialog_bench.results import MetricResult, Table
from radialog_instruct.findings import Labels, findings_text, positives
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Study

MAX_NEW_TOKENS = 300
SHOWN = ("bleu4", "rouge_l", "ce_samples_f1")
"""Metrics that mean something for one sample."""


class ReportGeneration(Evaluation):
    """Write the findings section for each frontal image of the studies that have one.

    Dialog: the published report prompt without its findings text, which an adapter may add. Greedy, 300 new tokens.
    Reference: the findings section, newlines removed.
    Metrics: BLEU-1 to 4 and ROUGE-L in RaDialog's protocol; CE by the run's labeler. Source: the paper, section 4.
    """

    name = "report_generation"
    version = 1

    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield one sample a frontal image."""
        for study in studies:
            findings = study.sections.findings
            if findings is None:
                yield LeftOut("study without a findings section")
                continue
            frontal = [image for image in study.images if image.view is not None and image.view.is_frontal]
            if not frontal:
                yield LeftOut("study without a frontal image")
            for image in frontal:
                yield EvalSample(sample_key(self.name, study, image), study, image, findings)

    def request(self, sample: EvalSample) -> Request:
        """Ask for the report."""
        text = default_prompts().render(CONSTANTS, "report")
        return self.question(sample, "report_generation", "report", text, Generation(MAX_NEW_TOKENS))

    def score(self, samples: Sequence[EvalSample], answers: Sequence[str], settings: ScoringSettings) -> Scores:
        """Score texts, and the findings the labeler reads in them."""
        references = [sample.reference for sample in samples]
        clusters = [sample.study.subject_id for sample in samples]
        common = {"n_error": settings.n_error, "resamples": settings.resamples, "seed": settings.seed}
        per_sample: list[dict[str, float | None]] = [{} for _ in samples]
        metrics: dict[str, MetricResult] = {}
        for lexical in lexical_metrics():
            metrics[lexical.name] = evaluate_metric(lexical, answers, references, clusters, **common)
            _collect(per_sample, lexical, answers, references)
        clinical = clinical_metrics(settings.labeler.signature)
        if settings.labeler.label_many is None:
            reason = settings.labeler.unavailable or "the labeler is not available"
            metrics |= {m.name: unavailable(m, reason, n=len(samples), n_error=settings.n_error) for m in clinical}
            nothing: list[str | None] = [None] * len(samples)
            return Scores(metrics, {}, {}, nothing, nothing, per_sample)
        guesses, truths = settings.labeler.label_many(answers), settings.labeler.label_many(references)
        for metric in clinical:
            metrics[metric.name] = evaluate_metric(metric, guesses, truths, clusters, **common)
            _collect(per_sample, metric, guesses, truths)
        tables: dict[str, Table] = {"per_class": per_class_table(guesses, truths)} if samples else {}
        return Scores(metrics, tables, {}, _texts(guesses), _texts(truths), per_sample)


def _collect(
    per_sample: list[dict[str, float | None]], metric: Metric[str] | Metric[Labels], guesses: object, truths: object
) -> None:
    if metric.name in SHOWN:
        scores = sample_scores(metric, guesses, truths)  # type: ignore[arg-type]
        for row, score in zip(per_sample, scores, strict=True):
            row[metric.name] = score


def _texts(labels: Sequence[Labels]) -> list[str | None]:
    return [findings_text(positives(row)) for row in labels]
