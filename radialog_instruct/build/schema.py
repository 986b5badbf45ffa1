"""The columns of the published dataset, the same for all tasks, and how a sample becomes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radialog_instruct.findings import findings_text, positives
from radialog_instruct.ids import sample_id
from radialog_instruct.records import Sample

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def arrow_schema() -> pa.Schema:
    """Return the Arrow schema, with the features that ``datasets`` reads back.

    Messages are plain strings: Arrow would merge the keys of content blocks, and chat templates would then see image
    markers that are not there.
    """
    from datasets import Features, List, Value

    string, integer = Value("string"), Value("int32")
    features = Features(
        {
            "id": string,
            "task": string,
            "messages": List({"role": string, "content": string}),
            "image_paths": List(string),
            "source": string,
            "terms": string,
            "split": string,
            "subject_id": string,
            "study_id": string,
            "image_ids": List(string),
            "view": string,
            "target_source": string,
            "findings_text": string,
            "finding_labels": List(Value("int8")),
            "labeler": string,
            "indication": string,
            "context": string,
            "report_turn": integer,
            "template_id": string,
            "template_version": integer,
            "template_hash": string,
            "generator": {
                "model": string,
                "revision": string,
                "engine": string,
                "engine_version": string,
                "request_hash": string,
                "sampling_hash": string,
                "finish_reason": string,
            },
            "quality": {"flags": List(string), "judge_score": Value("float32")},
        }
    )
    return features.arrow_schema


def row_of(sample: Sample, labeler: str) -> Row:
    """Return a sample as a row of the published dataset.

    Args:
        sample: The sample.
        labeler: The build's labeler, whose labels give the findings text and the label column.
    """
    study, image = sample.study, sample.image
    labels = study.labels.get(labeler)
    return {
        "id": sample_id(sample.task, study.source, study.study_id, image.image_id if image else "", sample.slot),
        "task": sample.task,
        "messages": [{"role": turn.role, "content": turn.content} for turn in sample.turns],
        "image_paths": [image.path] if image else [],
        "source": study.source,
        "terms": study.terms.value,
        "split": study.split.value,
        "subject_id": study.subject_id,
        "study_id": study.study_id,
        "image_ids": [image.image_id] if image else [],
        "view": image.view.value if image and image.view else None,
        "target_source": sample.target_source.value,
        "findings_text": findings_text(positives(labels)) if labels is not None else None,
        "finding_labels": list(labels) if labels is not None else None,
        "labeler": labeler if labels is not None else None,
        "indication": study.sections.indication,
        # A dialog without a report turn has no context to drop: report generation, and views of unreported images.
        "context": "full" if sample.report_turn is not None or sample.task == "report_generation" else "none",
        "report_turn": sample.report_turn,
        "template_id": sample.template.template_id,
        "template_version": sample.template.version,
        "template_hash": sample.template.hash,
        "generator": None,
        "quality": {"flags": [], "judge_score": None},
    }
