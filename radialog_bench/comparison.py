"""The typed schema of a comparison of two runs: what ``radialog-bench compare`` writes and the page shows.

It holds numbers, ids and names, never a text of a report. Differences are B minus A throughout: A is the baseline.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from radialog_bench.results import ModelInfo
from radialog_instruct.records import Terms

SCHEMA_VERSION = 1
TestName = Literal["bootstrap", "randomisation", "mcnemar"]
TESTS: tuple[TestName, ...] = ("bootstrap", "randomisation", "mcnemar")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ComparedRun(_Record):
    """One of the two runs."""

    folder: str
    """Name of the run folder, without the folders above it."""
    model: ModelInfo
    source: str
    split: str
    terms: Terms
    manifest_sha256: str
    versions: dict[str, str]
    started: str
    notices: tuple[str, ...] = ()


class SampleDifference(_Record):
    """One metric of one sample in both runs."""

    id: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b - self.a


class PerSample(_Record):
    """How the samples fared one by one, for a metric that means something for one sample."""

    wins: int
    """Samples in which B is better, by the metric's direction."""
    losses: int
    """Samples in which A is better."""
    ties: int
    undefined: int = 0
    """Samples in which the metric has no value in A or in B."""
    gains: tuple[SampleDifference, ...] = ()
    """Where B is better by most, the largest gain first."""
    drops: tuple[SampleDifference, ...] = ()
    """Where A is better by most, the largest drop first."""


class MetricComparison(_Record):
    """One metric of one evaluation in both runs, on the same samples."""

    metric: str
    signature: str
    signature_b: str | None = None
    """B's signature where it differs; only a forced comparison has one."""
    higher_is_better: bool
    a: float | None
    b: float | None
    difference: float | None
    """B minus A, or None when either is None."""
    ci95: tuple[float, float] | None = None
    """95 % interval of the difference, by paired bootstrap over whole patients."""
    p: dict[TestName, float] = {}
    """Two-sided p by test; a test that does not fit the metric is absent."""
    p_holm: dict[TestName, float] = {}
    """The same after Holm's correction over all metrics and evaluations that have the test."""
    n: int
    """Samples compared."""
    n_clusters: int
    """Patients (studies where no patient is known) these samples come from."""
    n_undefined: int = 0
    """Resamples in which the metric was undefined in A or in B; they are left out of interval and bootstrap p."""
    per_sample: PerSample | None = None
    """None for a metric that means nothing for one sample."""
    unavailable: str | None = None
    """Why there is nothing to compare."""


class EvaluationComparison(_Record):
    """All metrics of one evaluation."""

    evaluation: str
    version: int
    version_b: int | None = None
    """B's version where it differs; only a forced comparison has one."""
    n: int
    """Samples compared: those both runs hold."""
    n_clusters: int
    n_a: int
    n_b: int
    """Samples each run scored."""
    n_error_a: int
    n_error_b: int
    """Failures of each run over all its samples."""
    metrics: dict[str, MetricComparison]


class Comparison(_Record):
    """Two runs, compared."""

    schema_version: int = SCHEMA_VERSION
    a: ComparedRun
    b: ComparedRun
    tests: tuple[TestName, ...]
    resamples: int
    """Resamples of the bootstrap and of the randomisation."""
    seed: int
    n_hypotheses: dict[TestName, int]
    """How many metrics Holm's correction of each test went over."""
    forced: bool = False
    """Whether the comparison was made although the runs are not of one kind."""
    differences: tuple[str, ...] = ()
    """In what the runs differ that makes their numbers incomparable, in plain words; empty unless forced."""
    left_out: dict[str, str] = {}
    """Evaluations and metrics of only one run -> which run."""
    remarks: tuple[str, ...] = ()
    """What a reader of the tests must know."""
    evaluations: dict[str, EvaluationComparison]
