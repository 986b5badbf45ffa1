"""Checks of single rows and of balances: schema, targets, yes and no."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from radialog_instruct.build.manifest import Manifest
from radialog_instruct.check.results import CheckResult
from radialog_instruct.check.rows import CheckedRow
from radialog_instruct.context import CONTEXTS
from radialog_instruct.files import file_sha256
from radialog_instruct.findings import FINDINGS
from radialog_instruct.replay.validate import check_text
from radialog_instruct.tasks.base import is_placeholder

_SPLITS = ("train", "validation", "test")
_MAX_WORDS = 2000


class Files:
    """The files are those of the manifest, byte for byte.

    Args:
        folder: The dataset.
        manifest: Its manifest, or None where it has none.
        files: The Parquet files found.
    """

    def __init__(self, folder: Path, manifest: Manifest | None, files: list[Path]) -> None:
        self.result = result = CheckResult("files", "Are the files those of the manifest, byte for byte?")
        found = {file.relative_to(folder).as_posix(): file for file in files}
        if manifest is None:
            result.fail("manifest.json is missing")
            return
        listed = {name: file for shard in manifest.shards.values() for name, file in shard.files.items()}
        result.checked = len(listed)
        for name, entry in listed.items():
            if name not in found:
                result.fail(f"{name} is missing")
            elif file_sha256(found[name]) != entry.sha256:
                result.fail(f"{name} was changed after it was built")
        for name in sorted(set(found) - set(listed)):
            result.fail(f"{name} is not in the manifest")
        for number in range(manifest.config.shards):
            if str(number) not in manifest.shards:
                result.fail(f"shard {number} was not built: run the build again")


class Schema:
    """Every row has the published columns and the shape of a dialog."""

    def __init__(self, files: list[Path]) -> None:
        import pyarrow.parquet as pq

        from radialog_instruct.build.schema import arrow_schema

        self.result = CheckResult("schema", "Has every row the published columns and the shape of a dialog?")
        self._ids: set[bytes] = set()
        expected = arrow_schema()
        for file in files:
            if not pq.read_schema(file).equals(expected):
                self.result.fail(f"{file.parent.name}/{file.name}: other columns than published")

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        self.result.checked += 1
        for fault in self._faults(row):
            self.result.fail(f"{row.where}: {fault}")

    def _faults(self, row: CheckedRow) -> list[str]:
        faults = []
        key = row.id.encode()
        if key in self._ids:
            faults.append("its id stands twice")
        self._ids.add(key)
        if row.task != row.folder or row.split != row.file_split or row.split not in _SPLITS:
            faults.append(f"task {row.task!r} and split {row.split!r} do not belong into this file")
        if not row.roles or row.roles != ("user", "assistant") * (len(row.roles) // 2):
            faults.append("user and assistant do not alternate")
        if row.report_turn is not None and not 0 < row.report_turn < len(row.roles) - 1:
            faults.append("report_turn names no turn of the history")
        if row.labels is not None and (len(row.labels) != len(FINDINGS) or not set(row.labels) <= {1, 0, -1, None}):
            faults.append("finding_labels are not 14 values of 1, 0, -1 and null")
        if row.context not in CONTEXTS:
            faults.append(f"context {row.context!r} is none of {CONTEXTS}")
        if any(path.startswith("/") or ".." in path.split("/") for path in row.image_paths):
            faults.append("an image path leaves the image root")
        if any("<image>" in text or "Predicted Findings" in text for text in row.contents):
            faults.append("a message holds an image marker or a findings text")
        return faults

    def finish(self) -> None:
        """Nothing is left to do."""


class Targets:
    """No target is empty or a placeholder, and no template was left unfilled."""

    def __init__(self) -> None:
        self.result = CheckResult("targets", "Does every answer say something?")

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        self.result.checked += 1
        if is_placeholder(row.answer):
            self.result.fail(f"{row.where}: the answer is empty or a placeholder")
        if any("{{" in text or "{%" in text for text in row.contents):
            self.result.fail(f"{row.where}: a template was left unfilled")

    def finish(self) -> None:
        """Nothing is left to do."""


class WrittenAnswers:
    """Answers of an LLM say who wrote them, and pass what every answer must pass; no other row claims an LLM."""

    def __init__(self) -> None:
        self.result = CheckResult("LLM answers", "Does every LLM-written answer name its model and pass validation?")

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        if row.target_source != "llm":
            if row.generator is not None:
                self.result.fail(f"{row.where}: an LLM is named, but the answer is from {row.target_source!r}")
            return
        self.result.checked += 1
        unnamed = [name for name, value in (row.generator or {}).items() if not value]
        if row.generator is None or unnamed:
            self.result.fail(f"{row.where}: the LLM is not named ({', '.join(unnamed) or 'no generator'})")
        elif row.generator["finish_reason"] == "length":
            self.result.fail(f"{row.where}: the answer was cut off")
        instruction = row.contents[-2] if len(row.contents) > 1 else ""
        verdict = check_text(row.answer, instruction, min_words=1, max_words=_MAX_WORDS)
        for reason in verdict.reasons:
            self.result.fail(f"{row.where}: {reason}")
        for flag in row.flags:
            self.result.count(f"{row.task}: {flag}")

    def finish(self) -> None:
        """Nothing is left to do."""


class YesNoBalance:
    """Binary questions keep to the wanted share of yes.

    Args:
        yes_fraction: The wanted share.
        balanced_structured: Whether Rad-ReStruct's questions were balanced.
    """

    def __init__(self, yes_fraction: float, *, balanced_structured: bool) -> None:
        self.result = CheckResult("balance", "Have binary questions the wanted share of yes in each class and split?")
        self._fraction, self._structured = yes_fraction, balanced_structured
        self._answers: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)

    def see(self, row: CheckedRow) -> None:
        """Look at a row."""
        if row.task == "findings_qa_binary":
            self._answers[row.task, row.split, _finding(row)][row.answer] += 1
        elif row.task == "rad_restruct_qa" and self._structured and row.answer in ("yes", "no"):
            # The question type is not a column, so the split as a whole is looked at.
            self._answers[row.task, row.split, "all types"][row.answer] += 1

    def finish(self) -> None:
        """Compare the shares, up to the rounding of one row."""
        for (task, split, name), answers in sorted(self._answers.items()):
            self.result.checked += 1
            fraction = self._fraction if task == "findings_qa_binary" else 0.5
            yes, n = answers["yes"], answers["yes"] + answers["no"]
            if set(answers) - {"yes", "no"}:
                self.result.fail(f"{task} {split}, {name}: answers other than yes and no")
            elif abs(yes - fraction * n) > 1:
                self.result.fail(f"{task} {split}, {name}: {yes} of {n} are yes, wanted is {fraction:.0%}")


def _finding(row: CheckedRow) -> str:
    """Return the class a binary question names: the longest that stands in it."""
    question = row.contents[-2].lower() if len(row.contents) > 1 else ""
    return max((name for name in FINDINGS if name.lower() in question), key=len, default="no class")
