"""A finished run with its samples, as pages read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from radialog_bench.results import RunInfo, RunResults, SampleRecord
from radialog_bench.stored import load_run
from radialog_instruct.errors import DataError
from radialog_instruct.records import Terms


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
        with path.open(encoding="utf-8", errors="replace") as lines:
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
    stored = load_run(path)
    return RunFolder(path, stored.info, stored.results)
