"""What ``radialog-bench ls`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator

from radialog_bench.adapters.baselines import Constant
from radialog_bench.adapters.registry import BUILT_IN, SCHEMES, model_names
from radialog_bench.config import RunConfig
from radialog_bench.data import load_data
from radialog_bench.evaluations import EVALUATIONS
from radialog_bench.evaluations.view_classification import CLASSES
from radialog_bench.labelers import open_labeler
from radialog_bench.metrics import classification_metrics, clinical_metrics, lexical_metrics
from radialog_bench.metrics.rad_restruct.measures import vector_metrics


def model_lines() -> Iterator[str]:
    """Yield the names ``--model`` takes, and what else it takes."""
    for name in model_names():
        kind = BUILT_IN.get(name)
        summary = (kind.__doc__ or "").splitlines()[0] if kind else "entry point"
        yield f"{name}\t{summary}"
    for prefix, scheme in SCHEMES.items():
        yield f"{prefix}:{scheme.takes}\t{scheme.summary}"
    yield "file.py:Class\ta class with a method generate(requests)"
    yield "module:Class\tthe same from an importable module"


def evaluation_lines() -> Iterator[str]:
    """Yield the evaluations."""
    for kind in EVALUATIONS:
        yield f"{kind.name}\t{(kind.__doc__ or '').splitlines()[0]}"


def metric_lines() -> Iterator[str]:
    """Yield metrics with their signatures."""
    families = (
        lexical_metrics(),
        clinical_metrics(open_labeler("rules").signature),
        classification_metrics(CLASSES, "whole-word"),
        vector_metrics(matched=True),
        vector_metrics(matched=False),
    )
    for family in families:
        for metric in family:
            yield f"{metric.name}\t{metric.signature}"


def request_lines(config: RunConfig) -> Iterator[str]:
    """Yield the first request of each dialog of a run as JSON: id, sample, evaluation, study, image and messages.

    What is asked further depends on the answers.
    """
    for part in load_data(config, Constant()).parts:
        for sample in part.samples:
            request = part.evaluation.request(sample)
            yield json.dumps(
                {
                    "id": request.id,
                    "sample_id": sample.id,
                    "evaluation": part.evaluation.name,
                    "study_id": sample.study.study_id,
                    "image_id": sample.image.image_id,
                    "image": str(request.images[0].path) if request.images else None,
                    "messages": [{"role": message.role, "content": message.content} for message in request.messages],
                }
            )
