"""The command line's options that say what is built, and how they become a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from radialog_instruct.assets import demo_replay_dir
from radialog_instruct.config import (
    DEFAULT_LABELERS,
    DEFAULT_SHARDS,
    TASK_NAMES,
    BuildConfig,
    BuildPlaces,
    ContextPolicy,
    ImagePolicy,
    SourcePlaces,
)
from radialog_instruct.errors import UsageError
from radialog_instruct.mixtures import load_mixture
from radialog_instruct.replay.folder import read_policy
from radialog_instruct.tasks import Overlap

Source = Annotated[str, typer.Option(help="Where the studies come from: demo, iu-xray or mimic-cxr.")]
Root = Annotated[
    Path | None, typer.Option(help="Folder of the source; the demo needs none and reads the full collection with one.")
]
Reports = Annotated[
    Path | None, typer.Option(help="MIMIC-CXR's mimic-cxr-reports.zip or its folder; MIMIC-CXR-JPG holds no reports.")
]
MimicNle = Annotated[Path | None, typer.Option(help="Folder of MIMIC-NLE's extracted files, for explanations.")]
RadReStruct = Annotated[Path | None, typer.Option(help="Rad-ReStruct's folder, for its questions on IU-Xray.")]
LabelFiles = Annotated[list[Path] | None, typer.Option(help="Labels written by radialog-instruct label; repeatable.")]
Labeler = Annotated[
    str | None,
    typer.Option(help="Whose labels supervise findings QA: rules; chexpert, negbio (mimic-cxr); public (demo); any file's."),
]
SplitFile = Annotated[str | None, typer.Option(help="IU-Xray: split file below the root instead of annotation.json.")]
MixtureName = Annotated[str, typer.Option(help="How much of each task: paper, full, or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the mixture, e.g. report_generation.indication=true; repeatable."),
]
Tasks = Annotated[str | None, typer.Option(help=f"Only these of the mixture's tasks: {', '.join(TASK_NAMES)}.")]
OverlapChoice = Annotated[Overlap, typer.Option(help="Studies in different official splits: leave training, or keep.")]
ImagesChoice = Annotated[ImagePolicy, typer.Option(help="Rows without an image file: build or leave out.")]
ContextChoice = Annotated[ContextPolicy, typer.Option(help="Rows with full context, or with one draw of dropping.")]
Seed = Annotated[int, typer.Option(help="Seed of every choice.")]
ShardCount = Annotated[
    int | None, typer.Option(min=1, help="Shards of patients; the bytes depend on it. 16 for mimic-cxr, else 4.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")]
Templates = Annotated[Path | None, typer.Option(help="Folder of templates instead of the distribution's own.")]


Drafts = Annotated[
    Path | None,
    typer.Option(help="Run folder of a benchmark on the train split: corrections start from its reports."),
]
Judge = Annotated[
    str, typer.Option(help="Labeler that reads findings in drafts and in an LLM's answers: rules or chexbert.")
]
Chexbert = Annotated[Path | None, typer.Option(help="CheXbert's checkpoint for --judge chexbert; else from the Hub.")]
Vocabulary = Annotated[Path | None, typer.Option(help="vocab.txt of bert-base-uncased; by default from the Hub.")]
Replay = Annotated[
    Path | None,
    typer.Option(help="Folder written by radialog-instruct replay; the embedded demo has answers of its own."),
]


def configure(given: Mapping[str, Any], out: Path) -> tuple[BuildConfig, BuildPlaces]:
    """Turn a command's options into a configuration and places.

    Args:
        given: Option name -> value; options a command does not have keep their default.
        out: Folder of the dataset.

    Raises:
        UsageError: If an option is wrong.
    """
    source = given["source"]
    mixture = load_mixture(given["mixture"], tuple(given["settings"] or ()))
    if given["tasks"] is not None:
        chosen = chosen_tasks(given["tasks"], tuple(mixture.tasks))
        mixture = mixture.model_copy(update={"tasks": {task: mixture.tasks[task] for task in chosen}})
    places = SourcePlaces(
        root=given["root"],
        reports=given["reports"],
        mimic_nle=given["mimic_nle"],
        rad_restruct=given["rad_restruct"],
        labels=tuple(given["labels"] or ()),
        drafts=given.get("drafts"),
    )
    replay = replay_folder(given)
    policy = read_policy(replay) if replay is not None else None
    if policy is not None and policy.judge_labeler != given["judge"]:
        mend = f"build with --judge {policy.judge_labeler}"
        raise UsageError(f"the answers were judged by {policy.judge_labeler}", where=f"--replay {replay}", mend=mend)
    options = {"split_file": given["split_file"]} if given["split_file"] is not None else {}
    try:
        config = BuildConfig(
            source=source,
            mixture=mixture,
            seed=given["seed"],
            shards=given.get("shards") or DEFAULT_SHARDS.get(source, 4),
            images=given.get("images", ImagePolicy.REFERENCE),
            labeler=given["labeler"] or DEFAULT_LABELERS.get(source, "rules"),
            overlap=given.get("overlap", Overlap.STRICT),
            context=given.get("context", ContextPolicy.FULL),
            judge=given.get("judge", "rules"),
            run_drafts=given.get("drafts") is not None,
            replay=policy,
            source_options=options,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc']}: {first['msg']}", where="the options") from error
    return config, BuildPlaces(
        source=places,
        out=out,
        templates=given["templates"],
        workers=given.get("workers", 1),
        replay=replay,
        chexbert=given.get("chexbert"),
        vocabulary=given.get("vocabulary"),
    )


def replay_folder(given: Mapping[str, Any]) -> Path | None:
    """Return the folder with an LLM's answers: the given one, or that of the embedded demonstration collection."""
    if "replay" not in given or given["replay"] is not None:
        return given.get("replay")
    embedded = given["source"] == "demo" and given["root"] is None and given.get("drafts") is None
    return demo_replay_dir() if embedded else None


def chosen_tasks(names: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read a comma list of task names, in the project's order.

    Args:
        names: The list.
        known: The mixture's tasks.

    Raises:
        UsageError: If a name is unknown or none is given.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=2) or known
            raise UsageError(f"no task {name!r} in the mixture", where="--tasks", mend=f"did you mean {' or '.join(close)}?")
    if not wanted:
        raise UsageError("no task given", where="--tasks", mend=f"choose from: {', '.join(known)}")
    return tuple(name for name in TASK_NAMES if name in wanted)
