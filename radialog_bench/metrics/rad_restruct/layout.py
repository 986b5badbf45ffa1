"""What a Rad-ReStruct answer vector holds: the questions of the report template, in the official order.

Everything comes from the annotation's own files: ``template_final_clean.json`` (areas, findings, details, options),
``max_instances.json`` (how often a finding can be named) and ``report_keys.json`` (the name of every column). The
template says how columns belong together, the keys say where they stand; where the two disagree nothing is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from radialog_instruct.errors import DataError

TEMPLATE, INSTANCES, KEYS = "template_final_clean.json", "max_instances.json", "report_keys.json"
FOLDER_VARIABLE = "RADIALOG_RAD_RESTRUCT"
"""Environment variable that names Rad-ReStruct's folder where no caller does."""

YES, NO = "yes", "no"
BINARY = (YES, NO)
NOTHING = ("unspecified", "no selection")
"""Options that mean that none of the others is chosen."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the template, and its columns in the vector.

    Attributes:
        key: Unique name: the path, and the instance it belongs to, for example ``"lung_signs_opacity_degree_0"``.
        path: The annotation's name; instances of a finding share it, and so do an area and its whole.
        columns: Its columns, one an option.
        options: The answers it offers, in the columns' order.
        answer_type: ``"single_choice"``, ``"multi_choice"`` or ``"fixed_choice"``.
        level: 1 for a kind of finding in an area, 2 for a named finding or a further instance, 3 for a detail.
        kind: The kind of finding: signs, diseases, objects, body_regions or infos.
    """

    key: str
    path: str
    columns: slice
    options: tuple[str, ...]
    answer_type: str
    level: int
    kind: str

    @property
    def is_binary(self) -> bool:
        """Whether it is answered by yes or no."""
        return self.options == BINARY

    @property
    def nothing(self) -> str | None:
        """The option that means that none of the others is chosen, or None without one."""
        return next((option for option in NOTHING if option in self.options), None)

    def column(self, option: str) -> int:
        """Return the column of an option."""
        return int(self.columns.start) + self.options.index(option)


@dataclass(frozen=True, slots=True)
class Instance:
    """One occurrence of a finding: whether it is there, and its details."""

    question: Question
    details: tuple[Question, ...]

    @property
    def columns(self) -> slice:
        """All columns of the instance."""
        last = self.details[-1] if self.details else self.question
        return slice(self.question.columns.start, last.columns.stop)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of an area, as often as it can be named."""

    area: str
    name: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """The findings of one kind in an area.

    Attributes:
        area: The area, or the part of one.
        kind: signs, diseases, objects, body_regions or infos.
        question: The question of level 1; None for ``infos``, where the area itself is the finding.
        findings: Its findings.
    """

    area: str
    kind: str
    question: Question | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Layout:
    """The whole template.

    Attributes:
        topics: Kinds of findings by area, in the vector's order.
        size: Number of columns; 2,470 in the official data.
    """

    topics: tuple[Topic, ...]
    size: int

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """All questions, in the vector's order."""
        return tuple(self._walk())

    @cached_property
    def by_key(self) -> Mapping[str, Question]:
        """The questions by their keys."""
        return {question.key: question for question in self.questions}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the vector's order."""
        return tuple(finding for topic in self.topics for finding in topic.findings)

    def _walk(self) -> Iterator[Question]:
        for topic in self.topics:
            if topic.question is not None:
                yield topic.question
            for finding in topic.findings:
                for instance in finding.instances:
                    yield instance.question
                    yield from instance.details


class _Builder:
    """Numbers the columns while the template is read."""

    def __init__(self, max_instances: Mapping[str, int]) -> None:
        self._max_instances = max_instances
        self.keys: list[str] = []

    def topic(self, area: str, kind: str, content: Mapping[str, Any]) -> Topic:
        prefix = f"{area}_{kind}"
        if kind == "infos":
            details = {name: info for name, info in content.items() if name != "instances"}
            return Topic(area, kind, None, (self._finding(area, area, prefix, prefix, kind, details, kind),))
        question = self._question(prefix, prefix, "", 1, kind)
        findings = tuple(
            self._finding(
                area,
                name,
                f"{prefix}_{name}",
                prefix if name == area else f"{prefix}_{name}",
                name,
                entry["infos"],
                kind,
            )
            for name, entry in content.items()
        )
        return Topic(area, kind, question, findings)

    def _finding(
        self, area: str, name: str, prefix: str, path: str, counted: str, details: Mapping[str, Any], kind: str
    ) -> Finding:
        instances = []
        for number in range(self._max_instances.get(f"{area}/{counted}", 1)):
            end = f"_{number}"
            question = self._question(prefix, path, end, 2, kind)
            parts = (
                self._question(
                    f"{prefix}_{part}", f"{path}_{part}", end, 3, kind, tuple(i["options"]), i["answer_type"]
                )
                for part, i in details.items()
            )
            instances.append(Instance(question, tuple(parts)))
        return Finding(area, name, tuple(instances))

    def _question(
        self,
        prefix: str,
        path: str,
        end: str,
        level: int,
        kind: str,
        options: tuple[str, ...] = BINARY,
        answer_type: str = "single_choice",
    ) -> Question:
        start = len(self.keys)
        self.keys += [f"{prefix}_{option}{end}" for option in options]
        return Question(prefix + end, path, slice(start, len(self.keys)), options, answer_type, level, kind)


@lru_cache(maxsize=8)
def load_layout(folder: Path) -> Layout:
    """Read the layout of the answer vectors.

    Args:
        folder: Rad-ReStruct's folder with its template, or the repository that holds it as ``data/radrestruct``.

    Raises:
        DataError: If a file is missing or damaged, or the template does not give the columns of the keys.
    """
    inner = folder / "data" / "radrestruct"
    folder = inner if inner.is_dir() else folder
    template, builder = _load(folder / TEMPLATE), _Builder(_load(folder / INSTANCES))
    try:
        topics = tuple(
            builder.topic(area, kind, content)
            for entry in template
            for area, kinds in (entry["sub_areas"] if "sub_areas" in entry else {entry["area"]: entry}).items()
            for kind, content in kinds.items()
            if kind != "area"
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"not a report template ({error!r})", where=str(folder / TEMPLATE)) from error
    keys = _load(folder / KEYS)
    if builder.keys != keys:
        first = next((n for n, pair in enumerate(zip(builder.keys, keys, strict=False)) if pair[0] != pair[1]), "end")
        raise DataError(
            f"the template gives {len(builder.keys)} columns, the keys {len(keys)}; they part at {first}",
            where=str(folder / KEYS),
            mend="take template, max_instances and report_keys from one version of Rad-ReStruct",
        )
    return Layout(topics, len(keys))


def find_layout() -> Layout | None:
    """Return the layout of the folder that ``RADIALOG_RAD_RESTRUCT`` names, else of ``data/radrestruct`` here, or None.

    The second place is where the dataset's own programs look.

    Raises:
        DataError: If the folder cannot be read.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return load_layout(Path(named).resolve())
    here = Path("data", "radrestruct")
    return load_layout(here.resolve()) if (here / KEYS).is_file() else None


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError("the file is missing", where=str(path), mend="give Rad-ReStruct's folder") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), mend="fetch Rad-ReStruct again") from error
