from __future__ import annotations

from pathlib import Path

import pytest

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, ModelError
from radialog_instruct.sources.images import load_image
from radialog_model.checkpoint import load_checkpoint
from radialog_model.config import load_config
from radialog_model.data.rows import read_rows
from radialog_model.findings import FindingsExtractor
from radialog_model.findings.cache import load_predictions, predict_to_file
from radialog_model.findings.data import all_images
from radialog_model.training.job import _rows
from radialog_model.training.run import train


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


def test_an_extractor_becomes_part_of_the_checkpoint_it_was_named_for(
    extractor_folder: Path, dataset: Path, tmp_path: Path
) -> None:
    config = load_config("tiny", [f"extractor={extractor_folder}", "tower=null", "dialog.max_steps=1"])
    train(config, dataset, tmp_path / "out", None, lambda line: None)
    image = load_image(sorted((demo_dir() / "images").glob("*.jpg"))[0])
    (predicted,) = load_checkpoint(tmp_path / "out").findings.texts([image])
    assert predicted == FindingsExtractor.load(extractor_folder).texts([image])[0]
    with pytest.raises(ModelError, match="extractor"):
        missing = config.model_copy(update={"extractor": str(tmp_path / "out")})
        train(missing, dataset, tmp_path / "none", None, lambda line: None)
