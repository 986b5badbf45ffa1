"""The typed schema of a run folder: ``run.json``, ``results.json`` and ``samples/<evaluation>.jsonl``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from radialog_instruct.records import Terms

SCHEMA_VERSION = 2


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricResult(_Record):
    """One metric of one evaluation."""

    value: float | None
    """The score over the whole split, or None when the metric could not be computed."""
    ci95: tuple[float, float] | None
    """95 % bootstrap interval, clustered by patient."""
    n: int
    """Samples in the denominator."""
    n_error: int
    """Samples in the denominator that failed and count as the worst answer."""
    higher_is_better: bool
    signature: str
    ceiling: float | None = None
    """What the references themselves would score."""
    unavailable: str | None = None
    """Why ``value`` is None."""


class Table(_Record):
    """A table shown beside the metrics: per-class scores or a confusion matrix."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    """Each row starts with its name."""


class EvaluationResult(_Record):
    """All scores of one evaluation."""

    evaluation: str
    version: int
    headline: str = ""
    """The metric that stands for the evaluation where there is room for one."""
    n: int
    """Samples of the evaluation."""
    n_studies: int
    """Studies these samples come from."""
    n_scored: int
    """Samples that entered the metrics."""
    n_error: int
    """Samples with a request that failed, of whatever kind; ``counts`` tells the requests by kind."""
    counts: dict[str, int]
    """What was left out or could not be parsed, by reason; never silent."""
    metrics: dict[str, MetricResult]
    tables: dict[str, Table] = {}


class ModelInfo(_Record):
    """The model of a run."""

    name: str
    fingerprint: str
    """Hash of adapter, arguments, weights and prompt set: the key of the response log."""
    args: dict[str, Any] = {}
    notices: tuple[str, ...] = ()
    """What a reader of the numbers must know, in plain words, for example that the weights are demonstration ones."""


class DataInfo(_Record):
    """The data of a run."""

    source: str
    split: str
    terms: Terms
    manifest_sha256: str
    """Hash over the ids, references and image names that were evaluated."""
    n_studies: int
    notices: tuple[str, ...] = ()


class Speed(_Record):
    """How fast the model answered in one evaluation, over all sittings of the run."""

    asked: int
    """Requests sent to the model; those answered from the log do not count."""
    seconds: float
    """Wall time of asking them, without labelling and scoring."""
    seconds_per_request: float
    usage: dict[str, float] = {}
    """Sums of what the adapter counted, for example ``new_tokens``."""
    new_tokens_per_second: float | None = None
    """None where the adapter does not count tokens."""


class RunInfo(_Record):
    """``run.json``: everything needed to repeat the run, and how fast it was."""

    schema_version: int = SCHEMA_VERSION
    command: tuple[str, ...]
    config: dict[str, Any]
    model: ModelInfo
    data: DataInfo
    labeler: str = ""
    """Signature of the labeler of dialogs and scores."""
    versions: dict[str, str]
    git: dict[str, str | bool] | None
    machine: dict[str, str] = {}
    """Processor, memory and accelerator of the machine that last asked the model."""
    paths: dict[str, str] = {}
    """Where data and checkpoints lay, by the name of the flag; no part of the run's identity."""
    limited_to_images: bool = False
    """Whether samples without a readable image were left out, because the user or the model wanted it."""
    made_from: tuple[str, ...] = ()
    """Names of the run folders whose answers were scored again or merged."""
    started: str
    """UTC, ISO 8601."""
    finished: str | None = None
    """When the scores were last written after asking the model."""
    speed: dict[str, Speed] = {}
    """By evaluation; never in ``results.json``, which does not depend on the machine."""


class RunResults(_Record):
    """``results.json``: the scores of a run, free of timestamps so that a resumed run ends with the same bytes."""

    schema_version: int = SCHEMA_VERSION
    model: ModelInfo
    data: DataInfo
    evaluations: dict[str, EvaluationResult]


class SampleRecord(_Record):
    """One line of ``samples/<evaluation>.jsonl``."""

    id: str
    study_id: str
    subject_id: str
    images: tuple[str, ...]
    """Absolute paths of the images shown to the model."""
    dialog: tuple[dict[str, str], ...]
    """The neutral dialog with the model's own answers: ``{"role", "content"}``."""
    prediction: str | None
    """The scored answer, or None when the request failed."""
    reference: str
    parts: dict[str, str | None] = {}
    """Named answers of a dialog that asks for several; None where one failed."""
    parsed: str | None = None
    """The answer's parsed form, for example ``"ap"`` or a comma list of labels."""
    reference_parsed: str | None = None
    scores: dict[str, float | None]
    error: str | None = None
