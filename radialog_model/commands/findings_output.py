"""What ``radialog-model findings predict`` and ``eval`` do once torch is there."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import UsageError
from radialog_instruct.files import file_sha256, replacing
from radialog_instruct.findings import FINDINGS, findings_text
from radialog_instruct.sources.images import read_image
from radialog_model.findings.cache import Prediction, predict_to_file, read_predictions
from radialog_model.findings.data import all_images, check_files, labelled_images
from radialog_model.findings.evaluate import evaluate, score_predictions
from radialog_model.findings.opening import open_predictor
from radialog_model.findings.predictor import FindingsPredictor
from radialog_model.findings.scores import FindingsScores
from radialog_model.findings.thresholds import HALF

SPLITS = ("train", "validation", "test")
Log = Callable[[str], None]


def predict_images(
    predictor: FindingsPredictor,
    images: Sequence[Path],
    output: Path | None,
    table: Path | None,
    batch_size: int,
    log: Log,
) -> None:
    """Print the findings text of images, and keep the predictions where a file is named."""
    loaded = [read_image(path) for path in images]
    for path, one in zip(images, loaded, strict=True):
        for note in one.notes:
            log(f"radialog-model: {path}: {note}")
    if output is not None:
        found = predict_to_file(predictor, [str(p) for p in images], Path(), output, batch_size=batch_size)
    else:
        probabilities = predictor.probabilities([one.image for one in loaded])
        found = [
            Prediction(str(path), file_sha256(path), tuple(row.tolist()), names, findings_text(names))
            for path, row, names in zip(images, probabilities, predictor.decide(probabilities), strict=True)
        ]
    for prediction in found:
        print(f"{prediction.image}: {prediction.text}" if len(found) > 1 else prediction.text)
    if table is not None:
        write_table(table, found)


def predict_dataset(
    extractor: str | None,
    data: Path,
    split: str,
    image_root: Path | None,
    output: Path,
    table: Path | None,
    batch_size: int,
    device: str,
    log: Log,
) -> None:
    """Predict the findings of a dataset's images into a file.

    Raises:
        UsageError: If the split is unknown.
        RadialogError: As ``predict_to_file``.
    """
    if split not in (*SPLITS, "all"):
        raise UsageError(f"no split {split!r}", where="--split", mend=f"choose from: {', '.join(SPLITS)}, all")
    root = image_root or demo_dir()
    paths: list[str] = []
    for name in SPLITS if split == "all" else (split,):
        paths += all_images(data, name)
    predictor = open_predictor(extractor, device=device)
    found = predict_to_file(predictor, paths, root, output, batch_size=batch_size, progress=_progress(log))
    if table is not None:
        write_table(table, found)
    log(f"{len(found)} predictions: {output}")


def scores_of(
    extractor: str | None,
    predictions: Path | None,
    data: Path,
    split: str,
    image_root: Path | None,
    thresholds: str,
    batch_size: int,
    device: str,
    log: Log,
) -> tuple[FindingsScores, dict[str, Any]]:
    """Return the scores, and which extractor and thresholds they are of.

    Raises:
        RadialogError: If dataset, images, extractor or predictions cannot be used.
    """
    images = labelled_images(data, split)
    if images.unlabelled:
        log(f"{images.unlabelled} images without labels left out")
    if predictions is not None:
        file = read_predictions(predictions)
        return score_predictions(file.rows, images, predictions), {
            "extractor": file.extractor,
            "thresholds": file.thresholds,
        }
    root = image_root or demo_dir()
    check_files(images, root)
    predictor = open_predictor(extractor, device=device)
    half = torch.full((len(FINDINGS),), HALF) if thresholds == "half" else None
    scores = evaluate(predictor, images, root, thresholds=half, batch_size=batch_size, progress=_progress(log))
    used = dict(predictor.thresholds) if half is None else dict.fromkeys(FINDINGS, HALF)
    return scores, {
        "extractor": predictor.fingerprint,
        "thresholds": {name: round(value, 4) for name, value in used.items()},
    }


def write_table(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions as CSV, atomically: image, sha256, a column a class, text.

    Raises:
        UsageError: If the folder cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["image", "sha256", *FINDINGS, "text"])
        for p in predictions:
            writer.writerow([p.image, p.sha256, *(int(name in p.findings) for name in FINDINGS), p.text])


def print_scores(scores: FindingsScores, thresholds: Mapping[str, float]) -> None:
    """Print a table of the classes with the averages below."""
    table = Table(title=f"{scores.n} images")
    for column in ("class", "F1", "precision", "recall", "AUROC", "support", "predicted", "threshold"):
        table.add_column(column, justify="left" if column == "class" else "right", no_wrap=True)
    for name, one in scores.classes.items():
        area = "" if one.auroc is None else f"{one.auroc:.3f}"
        cells = [f"{value:.3f}" for value in (one.f1, one.precision, one.recall)]
        table.add_row(name, *cells, area, str(one.support), str(one.predicted), f"{thresholds[name]:.2f}")
    console = Console(width=110)
    console.print(table)
    area = "none" if scores.mean_auroc is None else f"{scores.mean_auroc:.3f}"
    console.print(
        f"macro F1 {scores.macro_f1:.3f} (classes with support {scores.macro_f1_supported:.3f}, five classes "
        f"{scores.macro_f1_five:.3f}) · micro F1 {scores.micro_f1:.3f} · mean AUROC {area}",
        highlight=False,
    )


def _progress(log: Log) -> Callable[[int, int], None]:
    """Return what tells the log about every thousandth image and the last."""
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        if done == total or done >= said + 1000:
            said = done
            log(f"{done}/{total} images")

    return tell
