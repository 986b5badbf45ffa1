"""The columns of the published dataset, the same for all tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


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
