"""Attaches annotations to the studies of a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radialog_instruct.annotations.drafts import Drafts
from radialog_instruct.annotations.labels import LabelTable
from radialog_instruct.annotations.mimic_nle import MimicNle
from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.errors import UsageError
from radialog_instruct.records import Study, Terms

if TYPE_CHECKING:
    from radialog_instruct.sources.base import KeepSubject, Reader


class Annotations:
    """The annotations of one build.

    Args:
        mimic_nle: Folder of MIMIC-NLE's extracted files.
        rad_restruct: Rad-ReStruct's folder.
        labels: Parquet files written by ``radialog-instruct label``.
        drafts: A model's reports.

    Raises:
        DataError: If one of them is missing or damaged.
    """

    def __init__(
        self,
        mimic_nle: Path | None = None,
        rad_restruct: Path | None = None,
        labels: tuple[Path, ...] = (),
        drafts: Drafts | None = None,
    ) -> None:
        self.mimic_nle = MimicNle(mimic_nle) if mimic_nle is not None else None
        self.rad_restruct = RadReStruct(rad_restruct) if rad_restruct is not None else None
        self.labels = tuple(LabelTable(path) for path in labels)
        self.drafts = drafts

    def __bool__(self) -> bool:
        """Tell whether there is any annotation."""
        return bool(self.mimic_nle or self.rad_restruct or self.labels or self.drafts)


class AnnotatedReader:
    """A reader whose studies carry annotations; it is a ``Reader`` itself.

    Args:
        reader: The source.
        annotations: What is attached.

    Raises:
        UsageError: If an annotation does not belong to the source.
    """

    def __init__(self, reader: Reader, annotations: Annotations) -> None:
        self.name, self.terms, self.root = reader.name, reader.terms, reader.root
        self._reader, self._annotations = reader, annotations
        self.rejected: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        for option, given, source in (
            ("--mimic-nle", annotations.mimic_nle, "mimic-cxr"),
            ("--rad-restruct", annotations.rad_restruct, "iu-xray"),
        ):
            if given is not None and reader.name != source:
                raise UsageError(f"it belongs to {source}, not to {reader.name}", where=option, mend="leave it out")

    def __len__(self) -> int:
        """Return the number of studies where the source knows it, else raise TypeError."""
        return len(self._reader)  # type: ignore[arg-type]

    def inputs(self) -> tuple[Path, ...]:
        """Return the files of the source and of all annotations."""
        given = self._annotations
        parts: tuple[Any, ...] = (self._reader, given.mimic_nle, given.rad_restruct, *given.labels, given.drafts)
        return tuple(path for part in parts if part is not None for path in part.inputs())

    def remarks(self) -> tuple[Counter[str], Counter[str]]:
        """Return what was rejected and remarked before any study was read."""
        rejected, notes = self._reader.remarks()
        if self._annotations.mimic_nle is not None:
            rejected += self._annotations.mimic_nle.rejected
        return rejected, notes

    def studies(self, keep: KeepSubject | None = None) -> Iterator[Study]:
        """Yield the source's studies with their annotations, then those that only Rad-ReStruct knows.

        Raises:
            DataError: If a file is damaged or contradictory.
        """
        self.rejected, self.notes = Counter(), Counter()
        structured = self._annotations.rad_restruct
        seen: set[str] = set()
        for study in self._reader.studies(keep):
            seen.add(study.study_id)
            yield self._annotate(study)
        self.rejected.update(self._reader.rejected)
        self.notes.update(self._reader.notes)
        if structured is not None:
            for study in structured.studies_without_report(seen, keep, Terms.NO_DERIVATIVES):
                self.notes["Rad-ReStruct study without a report text"] += 1
                yield study

    def _annotate(self, study: Study) -> Study:
        given = self._annotations
        changes: dict[str, Any] = {}
        official = dict(study.official)
        if given.mimic_nle is not None:
            explanations, split = given.mimic_nle.of(study)
            if split is not None:
                changes["explanations"] = explanations
                official["mimic-nle"] = split
        if given.rad_restruct is not None:
            split = given.rad_restruct.split_of(study.study_id)
            if split is not None:
                report, images = given.rad_restruct.report_of(study)
                changes |= {"structured": report, "images": images}
                official["rad-restruct"] = split
        if given.labels:
            labels = dict(study.labels)
            for table in given.labels:
                found = table.of(study.study_id)
                if found is None:
                    self.notes[f"study without {table.labeler} labels"] += 1
                else:
                    labels[table.labeler] = found
            changes["labels"] = labels
        if given.drafts is not None:
            changes["drafts"] = given.drafts.of(study)
        return replace(study, official=official, **changes) if changes else study
