"""``radialog-model findings``: train, ask and score the structured findings extractor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from radialog_instruct.errors import UsageError
from radialog_model.commands.extras import need_torch

app = typer.Typer(
    help="Train, ask and score the structured findings extractor.", no_args_is_help=True, rich_markup_mode=None
)

DataOption = Annotated[Path, typer.Option(help="Folder of a dataset built by radialog-instruct.")]
RootOption = Annotated[
    Path | None, typer.Option(help="Folder the image paths are relative to; the embedded demo's by default.")
]
ExtractorOption = Annotated[
    str | None,
    typer.Option(help="Folder or Hub repository of an extractor or checkpoint; the demonstration weights by default."),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, ...")]
BatchOption = Annotated[int, typer.Option(min=1, help="Images asked together.")]


@app.command()
def train(
    data: DataOption,
    output: Annotated[Path, typer.Option(help="Folder of the extractor; a rerun resumes.")],
    config: Annotated[
        str, typer.Option(help="A shipped configuration (paper, released, tiny) or a YAML file.")
    ] = "paper",
    image_root: RootOption = None,
    backbone: Annotated[str | None, typer.Option(help="Folder or Hub repository of a vision model.")] = None,
    freeze: Annotated[bool | None, typer.Option(help="Train the head alone.")] = None,
    thresholds: Annotated[str | None, typer.Option(help="half, or tuned on the validation split.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of head, order and dropout.")] = None,
) -> None:
    """Train an extractor on the labels of a dataset."""
    from radialog_instruct.assets import demo_dir
    from radialog_model.findings.config import load_findings_config

    settings = load_findings_config(
        config,
        backbone=backbone,
        freeze=freeze,
        thresholds=thresholds,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    need_torch()
    from radialog_model.findings.train import train_findings

    train_findings(settings, data, output, image_root or demo_dir(), _say)


@app.command()
def predict(
    image: Annotated[list[Path] | None, typer.Option(help="An X-ray; may be given several times.")] = None,
    data: Annotated[Path | None, typer.Option(help="A dataset, all of whose images are asked about.")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "all",
    image_root: RootOption = None,
    extractor: ExtractorOption = None,
    output: Annotated[Path | None, typer.Option(help="JSON lines; a rerun goes on. Needed with --data.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also a table with a column a class, 1 where present.")] = None,
    batch_size: BatchOption = 32,
    device: DeviceOption = "cpu",
) -> None:
    """Predict the findings of images, or of a whole dataset into a file that training and the bench read."""
    if (data is None) == (not image):
        raise UsageError("give either --image or --data", where="findings predict")
    if data is not None and output is None:
        raise UsageError("where to?", where="findings predict --data", mend="give --output FILE")
    need_torch()
    from radialog_model.commands.findings_output import predict_dataset, predict_images
    from radialog_model.findings.opening import open_predictor

    if data is not None and output is not None:
        predict_dataset(extractor, data, split, image_root, output, csv, batch_size, device, _say)
    else:
        predict_images(open_predictor(extractor, device=device), image or [], output, csv, batch_size, _say)


@app.command("eval")
def evaluate_command(
    data: DataOption,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    image_root: RootOption = None,
    extractor: ExtractorOption = None,
    predictions: Annotated[Path | None, typer.Option(help="Score this file instead of asking an extractor.")] = None,
    thresholds: Annotated[str, typer.Option(help="stored: the extractor's own; half: 0.5 for every class.")] = "stored",
    output: Annotated[Path | None, typer.Option(help="Write the scores as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    batch_size: BatchOption = 32,
    device: DeviceOption = "cpu",
) -> None:
    """Score an extractor: macro F1 over the 14 classes, and the classes themselves."""
    if thresholds not in ("stored", "half"):
        raise UsageError(f"thresholds {thresholds}", where="--thresholds", mend="choose stored or half")
    if predictions is not None and (extractor is not None or thresholds != "stored"):
        mend = "leave out --extractor and --thresholds: the file's own decisions are scored"
        raise UsageError("the predictions are made already", where="--predictions", mend=mend)
    need_torch()
    from radialog_instruct.files import write_json
    from radialog_model.commands.findings_output import print_scores, scores_of

    scores, used = scores_of(extractor, predictions, data, split, image_root, thresholds, batch_size, device, _say)
    result: dict[str, Any] = {**scores.to_json(), "split": split, **used}
    if output is not None:
        write_json(output, result)
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True))
    else:
        print_scores(scores, used["thresholds"])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
