"""From outcomes to scores: which samples count, and what a failed one counts as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from radialog_bench.chat import Failure
from radialog_bench.config import RunConfig
from radialog_bench.data import EvaluationData
from radialog_bench.dialog import AskFailed
from radialog_bench.evaluations.base import Conversation, EvalSample
from radialog_bench.labelers import Labeler
from radialog_bench.results import EvaluationResult, SampleRecord
from radialog_bench.sheet import ScoringSettings, Sheet


@dataclass(frozen=True)
class ScoredPart:
    """A scored evaluation.

    Attributes:
        result: Its scores.
        records: A record for each sample, in the samples' order.
        ids: The samples that entered the metrics.
        sheet: The filled-in sheet, with the statistics of these samples.
    """

    result: EvaluationResult
    records: list[SampleRecord]
    ids: tuple[str, ...]
    sheet: Sheet


def score_part(
    part: EvaluationData, outcomes: Sequence[Conversation | AskFailed], config: RunConfig, labeler: Labeler
) -> ScoredPart:
    """Score one evaluation.

    A sample has failed when a question of its dialog has no answer. With ``on_error="zero"`` it stays in the
    denominator with what it has, the rest empty; with ``"skip"`` it leaves it. Either way it is counted as an error.

    Args:
        part: The evaluation and its samples.
        outcomes: One outcome a sample.
        config: The run.
        labeler: The labeler of clinical efficacy.
    """
    pairs = list(zip(part.samples, outcomes, strict=True))
    failures = [failures_of(outcome) for outcome in outcomes]
    n_failed = sum(bool(found) for found in failures)
    kept = [pair for pair, found in zip(pairs, failures, strict=True) if config.on_error != "skip" or not found]
    settings = scoring_settings(config, labeler, n_failed if config.on_error == "zero" else 0)
    sheet = Sheet([sample.study.subject_id for sample, _ in kept], settings)
    conversations = [outcome if isinstance(outcome, Conversation) else Conversation("") for _, outcome in kept]
    part.evaluation.score([sample for sample, _ in kept], conversations, sheet)
    counts = Counter(part.left_out) + sheet.counts
    counts.update(f"failed: {failure.kind}" for found in failures for failure in found)
    result = EvaluationResult(
        evaluation=part.evaluation.name,
        version=part.evaluation.version,
        headline=part.evaluation.headline,
        n=len(pairs),
        n_studies=len({sample.study.study_id for sample, _ in pairs}),
        # A run in which every request failed has scored nothing, whatever the policy fills in.
        n_scored=len(kept) if not all(isinstance(outcome, AskFailed) for outcome in outcomes) else 0,
        n_error=n_failed,
        counts=dict(sorted(counts.items())),
        metrics=sheet.metrics,
        tables=sheet.tables,
    )
    places = {sample.id: place for place, (sample, _) in enumerate(kept)}
    records = [_record(part, sample, outcome, sheet, places.get(sample.id)) for sample, outcome in pairs]
    return ScoredPart(result, records, tuple(places), sheet)


def scoring_settings(config: RunConfig, labeler: Labeler, n_error: int = 0) -> ScoringSettings:
    """Return how a run's answers are scored, and later which metrics a stored run was scored with.

    Args:
        config: The run.
        labeler: The labeler of clinical efficacy.
        n_error: Samples that failed and count as the worst answer.
    """
    return ScoringSettings(labeler, config.bootstrap, config.seed, n_error)


def not_asked(part: EvaluationData, labeler: Labeler) -> ScoredPart:
    """Return the scores of an evaluation whose dialogs need a labeler that is not there: all null, with the reason.

    Args:
        part: The evaluation and its samples.
        labeler: The labeler.
    """
    sheet = Sheet([], ScoringSettings(labeler))
    part.evaluation.score([], [], sheet)
    nothing = {
        name: metric.model_copy(update={"unavailable": labeler.reason}) for name, metric in sheet.metrics.items()
    }
    counts = Counter(part.left_out) + Counter({"not asked: its dialog needs the labeler": len(part.samples)})
    result = EvaluationResult(
        evaluation=part.evaluation.name,
        version=part.evaluation.version,
        headline=part.evaluation.headline,
        n=len(part.samples),
        n_studies=len({sample.study.study_id for sample in part.samples}),
        n_scored=0,
        n_error=0,
        counts=dict(sorted(counts.items())),
        metrics=nothing,
    )
    return ScoredPart(result, [], (), sheet)


def failures_of(outcome: Conversation | AskFailed) -> tuple[Failure, ...]:
    """Return why questions of a dialog have no answer."""
    return (outcome.failure,) if isinstance(outcome, AskFailed) else outcome.failures


def _record(
    part: EvaluationData, sample: EvalSample, outcome: Conversation | AskFailed, sheet: Sheet, place: int | None
) -> SampleRecord:
    answered = isinstance(outcome, Conversation)
    turns = outcome.turns if isinstance(outcome, Conversation) else part.evaluation.request(sample).messages
    failures = failures_of(outcome)
    return SampleRecord(
        id=sample.id,
        study_id=sample.study.study_id,
        subject_id=sample.study.subject_id,
        images=(str(sample.image.file.resolve()),) if sample.image.file is not None else (),
        dialog=tuple({"role": turn.role, "content": turn.content} for turn in turns),
        prediction=outcome.answer if isinstance(outcome, Conversation) else None,
        reference=sample.reference,
        parts=dict(outcome.parts) if isinstance(outcome, Conversation) else {},
        parsed=sheet.parsed[place] if answered and place is not None else None,
        reference_parsed=sheet.reference_parsed[place] if place is not None else None,
        scores=sheet.per_sample[place] if place is not None else {},
        error=f"{failures[0].kind}: {failures[0].message}" if failures else None,
    )
