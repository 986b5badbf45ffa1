"""Mixtures: which tasks a dataset has, and how much of each. A mixture is a YAML file, and it is the dataset."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from radialog_instruct.assets import templates_dir
from radialog_instruct.errors import UsageError


class Unit(StrEnum):
    """What a task makes one dialog of."""

    IMAGE = "image"
    STUDY = "study"
    """The study's first image alone, a frontal one where there is any."""


def _number(value: object) -> object:
    """Read "1/14" as well as 0.0714."""
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{value!r} is no number or fraction") from error
    return value


Share = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1)]
Fraction01 = Annotated[float, BeforeValidator(_number), Field(gt=0, lt=1)]


class TaskMix(BaseModel):
    """How much of one task a mixture takes.

    Attributes:
        share: Share of the images the task can use, in every split; None takes all.
        no_finding_fraction: Report generation: share of reports labelled "No Finding" among all; None takes all.
        indication: Report generation: put the indication before the instruction where the report has one.
        yes_fraction: Binary findings QA: share of "yes" in each class and split, as far as the data allow.
        balanced: Rad-ReStruct QA: as many "yes" as "no" of each question type.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: Share | None = None
    no_finding_fraction: Fraction01 | None = None
    indication: bool = False
    yes_fraction: Fraction01 = 0.5
    balanced: bool = True


_OWN_OPTIONS = {
    "no_finding_fraction": "report_generation",
    "indication": "report_generation",
    "yes_fraction": "findings_qa_binary",
    "balanced": "rad_restruct_qa",
}


class Mixture(BaseModel):
    """A named mixture.

    Attributes:
        name: Its name.
        unit: What a task makes one dialog of.
        expected_total: Rows it aims at with all sources of the paper; a shortfall is reported.
        tasks: Task -> how much of it; a task that is absent is not built.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: Unit = Unit.IMAGE
    expected_total: int | None = None
    tasks: dict[str, TaskMix]


def load_mixture(name: str, settings: tuple[str, ...] = ()) -> Mixture:
    """Load a mixture by name, or from a YAML file.

    Args:
        name: ``"paper"``, ``"full"``, or the path of a YAML file.
        settings: Changes, for example ``"report_generation.indication=true"`` or ``"unit=study"``.

    Raises:
        UsageError: If there is no such mixture, or it is not valid.
    """
    shipped = templates_dir() / "mixtures" / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yaml")))
        raise UsageError(f"no mixture {name!r}", where="--mixture", mend=f"choose {known}, or give a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"not a YAML file: {error}", where=str(path), mend="mend the file") from error
    if not isinstance(content, dict):
        raise UsageError("not a mixture", where=str(path), mend="it must hold name and tasks")
    content["tasks"] = {task: mix or {} for task, mix in (content.get("tasks") or {}).items()}
    for setting in settings:
        _change(content, setting)
    return _checked(content, str(path))


def _change(content: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    task, dot, option = key.strip().partition(".")
    if not equals or not key.strip():
        mend = "for example report_generation.indication=true"
        raise UsageError(f"{setting!r} sets nothing", where="--set", mend=mend)
    if not dot:
        content[task] = yaml.safe_load(value)
    elif task in content["tasks"]:
        content["tasks"][task] = {**content["tasks"][task], option: yaml.safe_load(value)}
    else:
        known = ", ".join(content["tasks"])
        raise UsageError(f"the mixture has no task {task!r}", where="--set", mend=f"its tasks: {known}")


def _checked(content: dict[str, Any], where: str) -> Mixture:
    from radialog_instruct.tasks import TASKS

    known = [task.name for task in TASKS]
    for task, mix in content["tasks"].items():
        if task not in known:
            raise UsageError(f"no task {task!r}", where=where, mend=f"the tasks are: {', '.join(known)}")
        for option in mix if isinstance(mix, dict) else ():
            if _OWN_OPTIONS.get(option, task) != task:
                mend = f"it belongs to {_OWN_OPTIONS[option]}"
                raise UsageError(f"{task} has no option {option!r}", where=where, mend=mend)
    try:
        return Mixture.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{place}: {first['msg']}", where=where, mend="docs/data.md lists the options") from error
