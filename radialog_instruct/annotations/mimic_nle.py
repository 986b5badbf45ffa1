"""MIMIC-NLE: sentences of MIMIC-CXR reports that explain a finding.

Read are the files its extractor writes from a user's own reports, ``mimic-nle-{train,dev,test}.json`` in JSON lines.
The query files that the project itself publishes hold no sentence and cannot be used.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radialog_instruct.errors import DataError
from radialog_instruct.records import Explanation, Split, Study

NLE_FINDINGS: tuple[str, ...] = (
    "Atelectasis",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Lung Lesion",
    "Lung Opacity",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
)
"""Order of ``diagnosis_label`` in MIMIC-NLE's files."""
_SPLITS = {"train": Split.TRAIN, "dev": Split.VALIDATION, "test": Split.TEST}


class MimicNle:
    """The explanations by study.

    Args:
        folder: Folder of the three extracted files.

    Raises:
        DataError: If a file is missing, a line is no explanation, or a study stands in two splits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rejected: Counter[str] = Counter()
        self._by_study: dict[str, list[Explanation]] = {}
        self._splits: dict[str, Split] = {}
        self._patients: dict[str, str] = {}
        for name, split in _SPLITS.items():
            path = folder / f"mimic-nle-{name}.json"
            if not path.is_file():
                mend = "run MIMIC-NLE's extractor on your reports and give the folder of its output"
                raise DataError("the extracted file is missing", where=str(path), mend=mend)
            for number, record in _lines(path):
                self._add(record, split, f"{path}:{number}")

    def inputs(self) -> tuple[Path, ...]:
        """Return the three files."""
        return tuple(self.folder / f"mimic-nle-{name}.json" for name in _SPLITS)

    def of(self, study: Study) -> tuple[tuple[Explanation, ...], Split | None]:
        """Return a study's explanations and the split MIMIC-NLE puts it in, or nothing and None.

        Raises:
            DataError: If MIMIC-NLE knows another patient for the study.
        """
        patient = self._patients.get(study.study_id)
        if patient is None:
            return (), None
        if patient != study.subject_id:
            where = f"{self.folder}: s{study.study_id}"
            raise DataError(f"patient {patient} here, {study.subject_id} in the split table", where=where)
        return tuple(self._by_study.get(study.study_id, ())), self._splits[study.study_id]

    def _add(self, record: dict[str, Any], split: Split, where: str) -> None:
        try:
            study, patient = str(record["report_ID"]).removeprefix("s"), str(record["patient_ID"]).removeprefix("p")
            sentence, text, which = str(record["sentence_ID"]), record["nle"], record["diagnosis_label"]
            names = tuple(name for name, value in zip(NLE_FINDINGS, which, strict=True) if value == 1)
        except (KeyError, TypeError, ValueError) as error:
            mend = "these are not the extractor's files, or they were cut short"
            raise DataError(f"not an explanation ({error!r})", where=where, mend=mend) from error
        earlier = self._splits.setdefault(study, split)
        if earlier is not split:
            raise DataError(f"s{study} stands in the splits {earlier} and {split}", where=where, mend="remove one")
        self._patients[study] = patient
        folded = " ".join(str(text or "").split())
        if not folded or not names:
            self.rejected["explanation without text or finding"] += 1
            return
        self._by_study.setdefault(study, []).append(Explanation(sentence, names, folded))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except ValueError as error:
                        raise DataError("not a JSON line", where=f"{path}:{number}", mend="extract it again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), mend="extract it again") from error
