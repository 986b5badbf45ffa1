"""Rad-ReStruct: structured reports of IU-Xray as questions and answers.

Read is the authors' folder (``data/radrestruct``): split ids, one file of questions a report, and the frontal images
each report was made for. Report ``N`` is IU-Xray's study ``CXRN``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radialog_instruct.errors import DataError
from radialog_instruct.records import (
    Image,
    Sections,
    Split,
    StructuredQuestion,
    StructuredReport,
    Study,
    Terms,
    View,
)

if TYPE_CHECKING:
    from radialog_instruct.sources.base import KeepSubject

_SPLITS = {"train": Split.TRAIN, "val": Split.VALIDATION, "test": Split.TEST}
_MAPPING = "id_to_img_mapping_frontal_reports.json"
_NUMBER = re.compile(r"[0-9]{1,6}")
_IMAGE_ID = re.compile(r"[0-9A-Za-z_-]+")
_ANSWER_TYPES = ("single_choice", "multi_choice", "fixed_choice")


class RadReStruct:
    """Structured reports by study; their questions are read one report at a time.

    Args:
        folder: The authors' repository, or its ``data/radrestruct``.

    Raises:
        DataError: If a file is missing or damaged, or a report stands in two splits.
    """

    def __init__(self, folder: Path) -> None:
        inner = folder / "data" / "radrestruct"
        self.folder = inner if inner.is_dir() else folder
        if not (self.folder / "train_ids.json").is_file():
            mend = "give the folder of Rad-ReStruct with train_ids.json, or the repository that holds it"
            raise DataError("no Rad-ReStruct here", where=str(folder), mend=mend)
        self._splits: dict[str, Split] = {}
        for name, split in _SPLITS.items():
            path = self.folder / f"{name}_ids.json"
            for number in _load(path):
                if not isinstance(number, str) or not _NUMBER.fullmatch(number):
                    raise DataError(f"{number!r} is not a report id", where=str(path), mend="fetch the file again")
                if self._splits.setdefault(f"CXR{number}", split) is not split:
                    raise DataError(f"report {number} stands in two splits", where=str(path), mend="remove one")
        mapping = _load(self.folder / _MAPPING)
        self._images = {f"CXR{number}": tuple(images) for number, images in mapping.items()}
        for study_id, images in self._images.items():
            if not all(isinstance(image, str) and _IMAGE_ID.fullmatch(image) for image in images):
                raise DataError(f"{study_id} has an invalid image id", where=str(self.folder / _MAPPING))

    def __len__(self) -> int:
        """Return the number of reports."""
        return len(self._splits)

    @property
    def study_ids(self) -> tuple[str, ...]:
        """Ids of all studies with a structured report, split by split."""
        return tuple(self._splits)

    def inputs(self) -> tuple[Path, ...]:
        """Return the split files, the image mapping and the folders of questions."""
        names = [f"{name}_ids.json" for name in _SPLITS]
        return (
            *(self.folder / name for name in (*names, _MAPPING)),
            *(self.folder / f"{name}_qa_pairs" for name in _SPLITS),
        )

    def split_of(self, study_id: str) -> Split | None:
        """Return the official split of a study, or None when it has no structured report."""
        return self._splits.get(study_id)

    def report_of(self, study: Study) -> tuple[StructuredReport, tuple[Image, ...]]:
        """Read a study's structured report.

        Args:
            study: A study that ``split_of`` knows.

        Returns:
            The report, and the study's images with the frontal ones that only Rad-ReStruct knows.

        Raises:
            DataError: If the file of questions is missing or damaged.
        """
        frontal = self.images_of(study.study_id)
        known = {image.image_id for image in study.images}
        more = tuple(Image(name, f"{name}.png", View.FRONTAL, None) for name in frontal if name not in known)
        return self.structured(study.study_id), (*more, *study.images)

    def images_of(self, study_id: str) -> tuple[str, ...]:
        """Return the ids of the frontal images a study's report was made for."""
        return self._images.get(study_id, ())

    def structured(self, study_id: str) -> StructuredReport:
        """Read a structured report.

        Args:
            study_id: A study that ``split_of`` knows.

        Raises:
            DataError: If the file of questions is missing or damaged.
        """
        return StructuredReport(self._questions(study_id), self.images_of(study_id), self.folder)

    def by_image(self) -> dict[str, str]:
        """Return the study id of every frontal image."""
        return {image: study_id for study_id, images in self._images.items() for image in images}

    def studies_without_report(self, seen: Collection[str], keep: KeepSubject | None, terms: Terms) -> Iterator[Study]:
        """Yield a study without sections for every structured report whose report text is not there.

        Args:
            seen: Ids of the studies that were read.
            keep: Tells whether a patient is wanted.
            terms: What the source's licence allows.

        Raises:
            DataError: If a file of questions is missing or damaged.
        """
        for study_id in sorted(self._splits, key=lambda name: (len(name), name)):
            subject = f"iu-{study_id}"
            if study_id in seen or (keep is not None and not keep(subject)):
                continue
            split = self._splits[study_id]
            bare = Study("iu-xray", study_id, subject, split, terms, (), Sections(), {}, {"rad-restruct": split})
            report, images = self.report_of(bare)
            yield Study(
                *("iu-xray", study_id, subject, split, terms, images, Sections(), {}, {"rad-restruct": split}, report)
            )

    def _questions(self, study_id: str) -> tuple[StructuredQuestion, ...]:
        split = next(name for name, value in _SPLITS.items() if value is self._splits[study_id])
        path = self.folder / f"{split}_qa_pairs" / f"{study_id.removeprefix('CXR')}.json"
        questions = []
        for number, entry in enumerate(_load(path)):
            try:
                question, answers, history, info = entry
                made = StructuredQuestion(
                    path=info["path"],
                    question=question,
                    options=tuple(info["options"]),
                    answers=tuple(answers),
                    history=tuple((asked, tuple(given)) for asked, given in history),
                    answer_type=info["answer_type"],
                )
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"entry {number} is no question ({error!r})", where=str(path)) from error
            unknown = [answer for answer in made.answers if answer not in made.options]
            if made.answer_type not in _ANSWER_TYPES or not made.answers or unknown:
                raise DataError(f"entry {number} has no valid answer", where=str(path), mend="fetch the file again")
            questions.append(made)
        return tuple(questions)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(path), mend="fetch Rad-ReStruct again") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), mend="fetch Rad-ReStruct again") from error
