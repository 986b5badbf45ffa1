"""Collects samples as columns and turns them into Arrow batches.

Rows as dictionaries cost ten times the time of the rest of the build; here every value goes straight into the list of its
column, and what is the same in all rows is never written out in Python.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from radialog_instruct.config import ContextPolicy
from radialog_instruct.context import DROPPING_TASKS, drop_context
from radialog_instruct.findings import FINDINGS, Labels, findings_text, positives
from radialog_instruct.ids import sample_id
from radialog_instruct.records import Generator, Sample

if TYPE_CHECKING:
    import pyarrow as pa

_LABEL_TEXTS: dict[Labels, str] = {}


class ColumnBuffer:
    """The rows of a row group that is being filled.

    Args:
        schema: The dataset's schema.
        labeler: The build's labeler, whose labels give the findings text and the label column.
        context: Whether rows show the full context or one draw.
        seed: Seed of the draw.
    """

    def __init__(self, schema: pa.Schema, labeler: str, context: ContextPolicy, seed: int) -> None:
        self._schema, self._labeler = schema, labeler
        self._drawn, self._seed = context is ContextPolicy.DRAWN, seed
        self._clear()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._id)

    def _clear(self) -> None:
        self._id: list[str] = []
        self._turns: list[int] = []
        self._roles: list[str] = []
        self._contents: list[str] = []
        self._images: list[tuple[str, str, str | None] | None] = []
        self._studies: list[tuple[str, str, str, str, str | None]] = []
        self._labels: list[Labels | None] = []
        self._samples: list[tuple[str, str, str, str, int | None, str, int, str]] = []
        self._texts: list[str | None] = []
        self._generators: list[Generator | None] = []
        self._flags: list[tuple[str, ...]] = []
        self._scores: list[float | None] = []

    def add(self, sample: Sample) -> None:
        """Append a sample."""
        study, image, turns, template = sample.study, sample.image, sample.turns, sample.template
        image_id = image.image_id if image is not None else ""
        row_id = sample_id(sample.task, study.source, study.study_id, image_id, sample.slot)
        report_turn, context = sample.report_turn, "full"
        if report_turn is None and sample.task in DROPPING_TASKS:
            context = "none"  # a view of an unreported image: there is no report to show
        elif self._drawn:
            dropped = drop_context(turns, sample.task, report_turn, row_id, seed=self._seed)
            if dropped.context == "none":
                report_turn = None
            turns, context = dropped.turns, dropped.context
        self._id.append(row_id)
        self._turns.append(len(turns))
        for turn in turns:
            self._roles.append(turn.role)
            self._contents.append(turn.content)
        view = image.view.value if image is not None and image.view is not None else None
        self._images.append((image.path, image_id, view) if image is not None else None)
        self._studies.append(
            (study.source, study.terms.value, study.subject_id, study.study_id, study.sections.indication)
        )
        self._labels.append(study.labels.get(self._labeler))
        self._texts.append(sample.findings_text)
        self._generators.append(sample.generator)
        self._flags.append(sample.flags)
        self._scores.append(sample.judge_score)
        self._samples.append(
            (
                sample.task,
                sample.split.value,
                sample.target_source.value,
                context,
                report_turn,
                template.template_id,
                template.version,
                template.hash,
            )
        )

    def flush(self) -> pa.RecordBatch:
        """Return the rows as a batch and forget them."""
        import pyarrow as pa

        n = len(self)
        schema = self._schema

        def lists(name: str, lengths: list[int], values: pa.Array, missing: list[bool] | None = None) -> pa.Array:
            offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
            mask = pa.array(missing) if missing is not None else None
            return pa.ListArray.from_arrays(offsets, values, type=schema.field(name).type, mask=mask)

        def texts(values: object) -> pa.Array:
            return pa.array(values, pa.string())

        message = schema.field("messages").type.value_type
        columns: dict[str, pa.Array] = {"id": texts(self._id)}
        parts = [texts(self._roles), texts(self._contents)]
        columns["messages"] = lists("messages", self._turns, pa.StructArray.from_arrays(parts, fields=list(message)))
        present = [image for image in self._images if image is not None]
        paths, image_ids, views = zip(*present, strict=True) if present else ((), (), ())
        one = [int(image is not None) for image in self._images]
        columns["image_paths"] = lists("image_paths", one, texts(paths))
        columns["image_ids"] = lists("image_ids", one, texts(image_ids))
        of_present = iter(views)
        columns["view"] = texts([next(of_present) if has else None for has in one])
        of_study = ("source", "terms", "subject_id", "study_id", "indication")
        columns |= {name: texts(v) for name, v in zip(of_study, zip(*self._studies, strict=True), strict=True)}
        columns |= self._label_columns(lists)
        of_sample = (
            *("task", "split", "target_source", "context", "report_turn"),
            *("template_id", "template_version", "template_hash"),
        )
        for name, values in zip(of_sample, zip(*self._samples, strict=True), strict=True):
            columns[name] = pa.array(values, schema.field(name).type)
        columns["generator"] = self._generator_column(schema.field("generator").type)
        flags = pa.array(self._flags, schema.field("quality").type.field("flags").type)
        quality = [flags, pa.array(self._scores, pa.float32())]
        columns["quality"] = pa.StructArray.from_arrays(quality, fields=list(schema.field("quality").type))
        self._clear()
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _generator_column(self, kind: pa.StructType) -> pa.Array:
        import pyarrow as pa

        if not any(self._generators):
            return pa.nulls(len(self._generators), kind)
        nothing = (None,) * kind.num_fields
        rows = [_GENERATOR(one) if one is not None else nothing for one in self._generators]
        parts = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
        missing = pa.array([one is None for one in self._generators])
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=missing)

    def _label_columns(self, lists: object) -> dict[str, pa.Array]:
        import pyarrow as pa

        missing = [labels is None for labels in self._labels]
        lengths = [0 if absent else len(FINDINGS) for absent in missing]
        flat = [value for labels in self._labels if labels is not None for value in labels]
        values = pa.array(flat, pa.int8())
        return {
            "finding_labels": lists("finding_labels", lengths, values, missing),  # type: ignore[operator]
            "findings_text": pa.array(
                [own or _text(labels) for own, labels in zip(self._texts, self._labels, strict=True)], pa.string()
            ),
            "labeler": pa.array([None if absent else self._labeler for absent in missing], pa.string()),
        }


_GENERATOR = attrgetter(*(field.name for field in fields(Generator)))


def _text(labels: Labels | None) -> str | None:
    if labels is None:
        return None
    known = _LABEL_TEXTS.get(labels)
    if known is None:
        known = _LABEL_TEXTS[labels] = findings_text(positives(labels))
    return known
