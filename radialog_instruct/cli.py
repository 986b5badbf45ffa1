"""``radialog-instruct``: build the instruct dataset, look at it, prove what is in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from radialog_instruct.build.options import (
    Chexbert,
    ContextChoice,
    Drafts,
    ImagesChoice,
    Judge,
    Labeler,
    LabelFiles,
    MimicNle,
    MixtureName,
    OverlapChoice,
    RadReStruct,
    Replay,
    Reports,
    Root,
    Seed,
    Settings,
    ShardCount,
    Source,
    SplitFile,
    Tasks,
    Templates,
    Vocabulary,
    Workers,
    configure,
)
from radialog_instruct.config import ContextPolicy, ImagePolicy
from radialog_instruct.replay.cli import register
from radialog_instruct.tasks import Overlap
from radialog_instruct.terminal import run_app

app = typer.Typer(
    help="Turn chest X-ray reports and images into the RaDialog-Instruct dataset.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Dataset = Annotated[Path, typer.Argument(help="Folder of a built dataset.", show_default=False)]


@app.callback()
def _main() -> None:
    """Turn chest X-ray reports and images into the RaDialog-Instruct dataset."""


@app.command()
def build(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; a rerun keeps what still holds.")],
    source: Source = "demo",
    root: Root = None,
    reports: Reports = None,
    mimic_nle: MimicNle = None,
    rad_restruct: RadReStruct = None,
    labels: LabelFiles = None,
    labeler: Labeler = None,
    split_file: SplitFile = None,
    mixture: MixtureName = "paper",
    settings: Settings = None,
    tasks: Tasks = None,
    replay: Replay = None,
    drafts: Drafts = None,
    judge: Judge = "rules",
    chexbert: Chexbert = None,
    vocabulary: Vocabulary = None,
    overlap: OverlapChoice = Overlap.STRICT,
    images: ImagesChoice = ImagePolicy.REFERENCE,
    context: ContextChoice = ContextPolicy.FULL,
    seed: Seed = 0,
    shards: ShardCount = None,
    workers: Workers = 1,
    templates: Templates = None,
    as_json: AsJson = False,
) -> None:
    """Build the dataset as Parquet shards with a manifest."""
    from radialog_instruct.build.engine import build_dataset
    from radialog_instruct.build.progress import shown_progress
    from radialog_instruct.build.summary import print_summary

    given = locals()
    config, places = configure(given, out)
    with shown_progress() as progress:
        manifest = build_dataset(config, places, progress)
    print_summary(manifest, out, as_json=as_json)


@app.command()
def plan(
    source: Source = "demo",
    root: Root = None,
    reports: Reports = None,
    mimic_nle: MimicNle = None,
    rad_restruct: RadReStruct = None,
    labels: LabelFiles = None,
    labeler: Labeler = None,
    split_file: SplitFile = None,
    mixture: MixtureName = "paper",
    settings: Settings = None,
    tasks: Tasks = None,
    drafts: Drafts = None,
    judge: Judge = "rules",
    chexbert: Chexbert = None,
    vocabulary: Vocabulary = None,
    overlap: OverlapChoice = Overlap.STRICT,
    images: ImagesChoice = ImagePolicy.REFERENCE,
    seed: Seed = 0,
    workers: Workers = 1,
    templates: Templates = None,
    tokens_per_second: Annotated[
        float, typer.Option(min=1, help="Answer tokens a second and GPU, for the estimate of GPU-hours.")
    ] = 2000,
    as_json: AsJson = False,
) -> None:
    """Print the rows of every task and split, what would be left out, and what an LLM would have to write."""
    from radialog_instruct.build.engine import plan_dataset
    from radialog_instruct.build.progress import shown_progress
    from radialog_instruct.build.summary import print_plan
    from radialog_instruct.replay.estimate import estimate_replay

    given = locals()
    config, places = configure(given, Path())
    with shown_progress() as progress:
        made = plan_dataset(config, places, progress)
    estimate = estimate_replay(made, config, places, tokens_per_second)
    print_plan(made, config, estimate, as_json=as_json)


@app.command()
def preview(
    source: Source = "demo",
    root: Root = None,
    reports: Reports = None,
    mimic_nle: MimicNle = None,
    rad_restruct: RadReStruct = None,
    labels: LabelFiles = None,
    labeler: Labeler = None,
    split_file: SplitFile = None,
    mixture: MixtureName = "full",
    settings: Settings = None,
    tasks: Tasks = None,
    drafts: Drafts = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples a task.")] = 1,
    study: Annotated[str | None, typer.Option(help="Only this study id.")] = None,
    seed: Seed = 0,
    templates: Templates = None,
) -> None:
    """Print a few samples as chats, without building anything."""
    from radialog_instruct.preview import print_preview

    given = locals()
    config, places = configure(given, Path())
    print_preview(config, places, n, study)


@app.command()
def check(
    dataset: Dataset,
    as_json: AsJson = False,
) -> None:
    """Check a built dataset: leaks between splits and into prompts, balance, targets, schema; exits 3 if one fails."""
    from radialog_instruct.check.run import check_dataset, print_checks

    results = check_dataset(dataset)
    print_checks(results, dataset, as_json=as_json)


@app.command()
def report(
    dataset: Dataset,
    out: Annotated[Path | None, typer.Option(help="The page; report.html in the dataset's folder by default.")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Folder of the replay, for what was asked, rejected and spent.")
    ] = None,
    include_text: Annotated[
        bool, typer.Option("--include-text", help="Show answers of an LLM beside what they were made from.")
    ] = False,
) -> None:
    """Write a self-contained page: counts, lengths, template use, label balance, what was left out, the checks."""
    from radialog_instruct.check.page import write_report

    print(f"report: {write_report(dataset, out, replay, include_text=include_text)}")


@app.command()
def label(
    out: Annotated[Path, typer.Option(help="Parquet file of the labels.")],
    source: Source = "demo",
    root: Root = None,
    reports: Reports = None,
    labeler: Annotated[str, typer.Option(help="Labeler: rules or chexbert.")] = "rules",
    checkpoint: Annotated[
        Path | None, typer.Option(help="CheXbert's chexbert.pth; by default from the Hub (StanfordAIMI/RRG_scorers).")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="vocab.txt of bert-base-uncased; by default from the Hub.")
    ] = None,
    sections: Annotated[
        str, typer.Option(help="What is labelled: findings, impression or both; CheXbert was trained on impressions.")
    ] = "findings",
) -> None:
    """Label every report of a source and write the labels as Parquet, for build --labels."""
    from radialog_instruct.labeling.files import label_source

    print(label_source(source, root, reports, labeler, checkpoint, vocabulary, sections, out))


@app.command()
def doctor(
    roots: Annotated[list[Path], typer.Argument(help="Folders to look at.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Say which source files are in folders, which are missing, and which public project holds those."""
    from radialog_instruct.doctor import print_diagnosis

    print_diagnosis(roots, as_json=as_json)


@app.command("synth-mimic")
def synth_mimic(
    out: Annotated[Path, typer.Option(help="An empty or new folder.")],
    studies: Annotated[int, typer.Option(help="Number of studies; the real project has 227,835.")] = 500,
    images: Annotated[str, typer.Option(help="Image files: tiny (grey JPEGs) or none.")] = "tiny",
    reports: Annotated[str, typer.Option(help="Reports: zip, as downloaded, or tree, unpacked.")] = "zip",
) -> None:
    """Write an invented MIMIC-CXR tree in the real layout, to try everything without access."""
    from radialog_instruct.synth.command import synthesise

    synthesise(out, studies, images, reports)


register(app)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(app, "radialog-instruct"))


if __name__ == "__main__":
    main()
