"""Scoring an extractor on a split of a built dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from radialog_instruct.errors import DataError
from radialog_instruct.findings import FINDINGS
from radialog_instruct.sources.images import load_image
from radialog_model.findings.cache import Prediction
from radialog_model.findings.data import LabelledImages
from radialog_model.findings.predictor import FindingsPredictor
from radialog_model.findings.scores import FindingsScores, score_findings


def evaluate(
    predictor: FindingsPredictor,
    images: LabelledImages,
    root: Path,
    *,
    thresholds: Tensor | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> FindingsScores:
    """Ask an extractor about every image and score it.

    Args:
        predictor: The extractor.
        images: Images and targets.
        root: Folder of the images.
        thresholds: [14] in place of the extractor's own decision.
        batch_size: Images asked together.
        progress: Told how many images of how many are done.

    Raises:
        DataError: If an image cannot be read.
    """
    parts = []
    for start in range(0, len(images.paths), batch_size):
        batch = images.paths[start : start + batch_size]
        parts.append(predictor.probabilities([load_image(root / path) for path in batch]))
        if progress is not None:
            progress(min(start + batch_size, len(images.paths)), len(images.paths))
    probabilities = torch.cat(parts)
    if thresholds is not None:
        predicted = (probabilities >= thresholds).numpy()
    else:
        predicted = _marked(predictor.decide(probabilities))
    return score_findings(images.targets.numpy(), predicted, probabilities.numpy())


def score_predictions(predictions: Sequence[Prediction], images: LabelledImages, where: Path) -> FindingsScores:
    """Score predictions that were made before.

    Args:
        predictions: The predictions.
        images: Images and targets.
        where: The predictions' file, for messages.

    Raises:
        DataError: If an image has no prediction.
    """
    by_path = {prediction.image: prediction for prediction in predictions}
    missing = [path for path in images.paths if path not in by_path]
    if missing:
        mend = "run radialog-model findings predict for this dataset and split"
        raise DataError(f"{len(missing)} images have no prediction, {missing[0]} first", where=str(where), mend=mend)
    chosen = [by_path[path] for path in images.paths]
    probabilities = np.array([prediction.probabilities for prediction in chosen])
    return score_findings(images.targets.numpy(), _marked([p.findings for p in chosen]), probabilities)


def _marked(names: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    return np.array([[name in row for name in FINDINGS] for row in names])
