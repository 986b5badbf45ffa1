"""Drafts: the reports a model wrote in a benchmark run on the train split, for corrections."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.labeling.base import TextLabeler
from radialog_instruct.records import Draft, Study

_SAMPLES = Path("samples") / "report_generation.jsonl"
_MEND = "run radialog-bench run --evaluations report_generation --split train"


class Drafts:
    """A model's reports by study and image, with the labels a labeler reads in them.

    Args:
        folder: Run folder of a benchmark.
        source: The source the drafts must be of.
        judge: Reads findings in them.

    Raises:
        DataError: If the folder is no finished run, or a line is damaged.
        UsageError: If the run is of another split or source.
    """

    def __init__(self, folder: Path, source: str, judge: TextLabeler) -> None:
        self.folder = folder
        run = _read_run(folder)
        if run["split"] != "train":
            raise UsageError(
                f"its reports are of the split {run['split']!r}", where=f"--drafts {folder}", mend=f"{_MEND} for drafts"
            )
        if run["source"] != source:
            raise UsageError(f"its reports are of {run['source']}, not of {source}", where=f"--drafts {folder}")
        self.model = str(run["model"])
        found = dict(_read_samples(folder / _SAMPLES))
        labels = judge.label_many(found.values())
        self._drafts = dict(zip(found, zip(found.values(), labels, strict=True), strict=True))

    def __len__(self) -> int:
        """Return the number of drafts."""
        return len(self._drafts)

    def of(self, study: Study) -> tuple[Draft, ...]:
        """Return the drafts of a study's images."""
        drafts = []
        for image in study.images:
            found = self._drafts.get((study.study_id, PurePosixPath(image.path).name))
            if found is not None:
                drafts.append(Draft(image.image_id, *found, self.model))
        return tuple(drafts)

    def inputs(self) -> tuple[Path, ...]:
        """Return the file of drafts."""
        return (self.folder / _SAMPLES,)


def open_drafts(folder: Path | None, source: str, judge: TextLabeler | None) -> Drafts | None:
    """Open drafts where a folder is given.

    Raises:
        RadialogError: As ``Drafts``.
    """
    if folder is None:
        return None
    if judge is None:
        raise UsageError("drafts need a labeler to read them", where="--drafts", mend="pass one")
    return Drafts(folder, source, judge)


def _read_run(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        return {"split": run["data"]["split"], "source": run["data"]["source"], "model": run["model"]["name"]}
    except FileNotFoundError as error:
        raise DataError("no run folder here", where=str(folder), mend=_MEND) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a run.json of this version ({error!r})", where=str(path), mend=_MEND) from error


def _read_samples(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (study id, file name of the image) and the report; failed samples have none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError("the run has no reports", where=str(path), mend=_MEND) from error
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            text, images = record["prediction"], record["images"]
            if text is not None and text.strip() and images:
                yield (str(record["study_id"]), PurePosixPath(images[0]).name), " ".join(text.split())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a sample ({error!r})", where=f"{path}:{number}", mend="run it again") from error
