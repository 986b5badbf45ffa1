"""From outcomes to scores: which samples count, and what a failed one counts as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from radialog_bench.config import RunConfig
from radialog_bench.data import EvaluationData
from radialog_bench.dialog import AskFailed
from radialog_bench.evaluations.base import Conversation, EvalSample, ScoringSettings
from radialog_bench.labelers import Labeler
from radialog_bench.results import EvaluationResult, SampleRecord


def score_part(
    part: EvaluationData, outcomes: Sequence[Conversation | AskFailed], config: RunConfig, labeler: Labeler
) -> tuple[EvaluationResult, list[SampleRecord]]:
    """Score one evaluation.

    With ``on_error="zero"`` a failed sample stays in the denominator with an empty answer; with ``"skip"`` it leaves
    it. Either way it is counted as an error.

    Args:
        part: The evaluation and its samples.
        outcomes: One outcome a sample.
        config: The run.
        labeler: The labeler of clinical efficacy.
    """
    pairs = list(zip(part.samples, outcomes, strict=True))
    failed = [outcome for _, outcome in pairs if isinstance(outcome, AskFailed)]
    scored = [pair for pair in pairs if config.on_error != "skip" or not isinstance(pair[1], AskFailed)]
    settings = ScoringSettings(labeler, config.bootstrap, config.seed, len(failed) if config.on_error == "zero" else 0)
    samples = [sample for sample, _ in scored]
    answers = [outcome.answer if isinstance(outcome, Conversation) else "" for _, outcome in scored]
    scores = part.evaluation.score(samples, answers, settings)
    counts = Counter(part.left_out) + Counter(scores.counts)
    counts.update(f"failed: {outcome.failure.kind}" for outcome in failed)
    result = EvaluationResult(
        evaluation=part.evaluation.name,
        version=part.evaluation.version,
        n=len(pairs),
        n_studies=len({sample.study.study_id for sample, _ in pairs}),
        # A run in which every request failed has scored nothing, whatever the policy fills in.
        n_scored=len(scored) if len(failed) < len(pairs) else 0,
        n_error=len(failed),
        counts=dict(sorted(counts.items())),
        metrics=scores.metrics,
        tables=scores.tables,
    )
    details = {
        sample.id: (parsed, truth, values)
        for sample, parsed, truth, values in zip(
            samples, scores.parsed, scores.reference_parsed, scores.per_sample, strict=True
        )
    }
    records = []
    for sample, outcome in pairs:
        parsed, truth, values = details.get(sample.id, (None, None, {}))
        records.append(_record(part, sample, outcome, parsed, truth, values))
    return result, records


def _record(
    part: EvaluationData,
    sample: EvalSample,
    outcome: Conversation | AskFailed,
    parsed: str | None,
    truth: str | None,
    values: dict[str, float | None],
) -> SampleRecord:
    answered = isinstance(outcome, Conversation)
    turns = outcome.turns if isinstance(outcome, Conversation) else part.evaluation.request(sample).messages
    return SampleRecord(
        id=sample.id,
        study_id=sample.study.study_id,
        subject_id=sample.study.subject_id,
        images=(str(sample.image.file.resolve()),) if sample.image.file is not None else (),
        dialog=tuple({"role": turn.role, "content": turn.content} for turn in turns),
        prediction=outcome.answer if isinstance(outcome, Conversation) else None,
        reference=sample.reference,
        parsed=parsed if answered else None,
        reference_parsed=truth,
        scores=values,
        error=f"{outcome.failure.kind}: {outcome.failure.message}" if isinstance(outcome, AskFailed) else None,
    )
