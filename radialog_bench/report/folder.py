"""Reads a run folder for its pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from radialog_bench.results import RunInfo, RunResults, SampleRecord
from radialog_instruct.errors import DataError
from radialog_instruct.records import Terms

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class RunFolder:
    """A finished run.

    Attributes:
        path: The folder.
        run: ``run.json``.
        results: ``results.json``.
    """

    path: Path
    run: RunInfo
    results: RunResults

    @property
    def credentialed(self) -> bool:
        """Whether texts, labels and images of the source must stay on this machine."""
        return self.results.data.terms is Terms.CREDENTIALED

    def samples(self, evaluation: str) -> Iterator[SampleRecord]:
        """Yield the records of an evaluation; none if its file is missing.

        Raises:
            DataError: If a line is not a sample of this version.
        """
        path = self.path / "samples" / f"{evaluation}.jsonl"
        if not path.is_file():
            return
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield SampleRecord.model_validate_json(line)
                except ValidationError as error:
                    raise DataError(
                        "not a sample of this version", where=f"{path}:{number}", mend="run the benchmark again"
                    ) from error


def open_run(path: Path) -> RunFolder:
    """Open a run folder.

    Raises:
        DataError: If it holds no finished run of this version.
    """
    return RunFolder(path, read_json(path / "run.json", RunInfo), read_json(path / "results.json", RunResults))


def read_json(path: Path, kind: type[Kind]) -> Kind:
    """Read one JSON file of a run.

    Raises:
        DataError: If it is missing or not of this version.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("no finished run here", where=str(path), mend="run radialog-bench run first") from error
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError("not a run of this version", where=str(path), mend="run the benchmark again") from error
