from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.findings import FINDINGS
from radialog_model.findings import FindingsExtractor
from radialog_model.findings import train as training
from radialog_model.findings.config import load_findings_config
from radialog_model.findings.data import all_images, labelled_images
from radialog_model.findings.train import train_findings


def fit(out: Path, dataset: Path, log=lambda line: None, **options) -> FindingsExtractor:
    return train_findings(load_findings_config("tiny", **options), dataset, out, demo_dir(), log)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_every_image_stands_once_and_only_certain_positives_count(dataset: Path, tmp_path: Path) -> None:
    images = labelled_images(dataset, "train")
    assert len(set(images.paths)) == len(images.paths) == len(images.targets)
    assert list(images.paths) == sorted(images.paths)
    assert images.unlabelled == 0
    copy = tmp_path / "d"
    shutil.copytree(dataset, copy)
    for file in copy.glob("*/train-*.parquet"):
        table = pq.read_table(file)
        labels = [
            [-1, None, 1, *[0] * 11] if path[0] != images.paths[0] else None
            for path in table["image_paths"].to_pylist()
        ]
        index = table.schema.get_field_index("finding_labels")
        column = pa.array(labels, table.schema.field("finding_labels").type)
        pq.write_table(table.set_column(index, table.schema.field("finding_labels"), column), file)
    changed = labelled_images(copy, "train")
    assert changed.unlabelled == 1
    assert len(changed.paths) == len(images.paths) - 1
    assert changed.targets[0].tolist() == [0, 0, 1, *[0] * 11]
    assert all_images(copy, "train") == list(images.paths)


def test_two_labels_of_one_image_and_a_missing_split_are_errors(dataset: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d"
    shutil.copytree(dataset, copy)
    file = next((copy / "view_classification").glob("validation-*.parquet"))
    table = pq.read_table(file)
    index = table.schema.get_field_index("finding_labels")
    column = pa.array([[1] * 14] * len(table), table.schema.field("finding_labels").type)
    pq.write_table(table.set_column(index, table.schema.field("finding_labels"), column), file)
    with pytest.raises(DataError, match="two different labels"):
        labelled_images(copy, "validation")
    with pytest.raises(DataError, match="no labelled image in the split dev"):
        labelled_images(dataset, "dev")
    with pytest.raises(DataError, match="no built dataset here"):
        labelled_images(tmp_path, "train")


def test_training_keeps_the_best_epoch_and_the_tuned_thresholds(extractor_folder: Path) -> None:
    described = json.loads((extractor_folder / "radialog.json").read_text())
    epochs = described["training"]["epochs"]
    assert len(epochs) == 2
    scores = [epoch["macro_f1"] for epoch in epochs]
    assert scores[described["training"]["best_epoch"] - 1] == max(scores)
    extractor = FindingsExtractor.load(extractor_folder)
    assert set(extractor.thresholds) == set(FINDINGS)
    assert extractor.thresholds["Fracture"] == 0.5  # no positive in validation
    assert any(value != 0.5 for value in extractor.thresholds.values())
    assert extractor.notices
    assert not (extractor_folder / "work").exists()
    buffers = [value for name, value in weights_of(extractor_folder).items() if name.endswith("running_var")]
    assert all(not torch.equal(value, torch.ones_like(value)) for value in buffers)


def test_the_same_seed_gives_the_same_bytes(extractor_folder: Path, dataset: Path, tmp_path: Path) -> None:
    fit(tmp_path / "a", dataset, thresholds="tuned")
    again = (tmp_path / "a" / "model.safetensors").read_bytes()
    assert again == (extractor_folder / "model.safetensors").read_bytes()
    fit(tmp_path / "b", dataset, seed=1)
    assert (tmp_path / "b" / "model.safetensors").read_bytes() != again


@pytest.mark.parametrize("freeze", [False, True])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    freeze: bool, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 3, "freeze": freeze}
    fit(tmp_path / "whole", dataset, **options)

    class Stops(training._Epochs):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch and state.epoch >= 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training, "_Epochs", Stops)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "cut", dataset, **options)
    assert (tmp_path / "cut" / "work").is_dir()
    assert not (tmp_path / "cut" / "config.json").exists()
    with pytest.raises(UsageError, match=r"another config\.seed lies here: 0 then, 5 now"):
        fit(tmp_path / "cut", dataset, epochs=3, freeze=freeze, seed=5)
    # killed while it saved: Trainer writes its state last
    (tmp_path / "cut" / "work" / "checkpoint-900").mkdir()
    lines: list[str] = []
    fit(tmp_path / "cut", dataset, lines.append, **options)
    assert len([line for line in lines if line.startswith("epoch")]) == 1
    for name in ("model.safetensors", "radialog.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_frozen_backbone_stays_as_it_was_and_its_head_learns(dataset: Path, tmp_path: Path) -> None:
    fit(tmp_path / "one", dataset, freeze=True, epochs=1)
    fit(tmp_path / "two", dataset, freeze=True, epochs=2, learning_rate=0.1)
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("backbone"))
    assert not torch.equal(one["head.weight"], two["head.weight"])


def test_the_released_head_and_frozen_batchnorm_train_too(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    shipped = (Path(training.__file__).parents[1] / "configs" / "findings" / "tiny.yaml").read_text()
    path.write_text(shipped.replace("epochs: 2", "epochs: 1\nhead: released\nbatchnorm: frozen\ncrop: 96\nresize: 100"))
    train_findings(load_findings_config(str(path)), dataset, tmp_path / "out", demo_dir(), lambda line: None)
    state = weights_of(tmp_path / "out")
    assert torch.equal(state["backbone.stem.1.running_var"], torch.ones(8))
    assert not torch.equal(state["head.projector.1.running_var"], torch.ones(128))
    assert FindingsExtractor.load(tmp_path / "out").image_processor.crop_size["height"] == 96


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone: clip\nspeed: 3\n", "speed"),
        ("epochs: 2\n", "backbone"),
        ("- a\n", "holds no keys"),
        ("backbone: clip\nthresholds: best\n", "thresholds"),
    ],
)
def test_a_wrong_configuration_names_its_key(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_findings_config(str(tmp_path / "c.yaml"))
    with pytest.raises(UsageError, match="paper, released, tiny"):
        load_findings_config("huge")


def test_the_papers_numbers_are_the_defaults() -> None:
    paper = load_findings_config("paper")
    assert (paper.epochs, paper.batch_size, paper.learning_rate, paper.thresholds) == (6, 64, 5e-5, "half")
    released = load_findings_config("released")
    assert (released.backbone, released.head, released.resize, released.crop) == ("biovil_t", "released", 512, 488)
