from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError
from radialog_model.config import load_config
from radialog_model.data.rows import read_rows
from radialog_model.findings import FindingsExtractor
from radialog_model.findings.cache import load_predictions, predict_to_file
from radialog_model.findings.data import all_images
from radialog_model.training.job import _rows


def test_training_on_predicted_findings_shows_what_the_extractor_said(
    extractor_folder: Path, dataset: Path, tmp_path: Path
) -> None:
    file = tmp_path / "p.jsonl"
    predict_to_file(FindingsExtractor.load(extractor_folder), all_images(dataset, "train"), demo_dir(), file)
    tiny = load_config("tiny")
    inputs = tiny.inputs.model_copy(update={"findings": "predicted", "predictions": file})
    config = tiny.model_copy(update={"inputs": inputs})
    texts = load_predictions(file)
    assert [row.findings for row in _rows(config, dataset, "train")] == [
        texts[row.image] for row in read_rows(dataset, "train", tiny.tasks)
    ]
    with pytest.raises(DataError, match="10 images have no findings"):
        _rows(config, dataset, "validation")
