"""Whole runs on a tiny language model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from radialog_instruct.errors import DataError, UsageError
from radialog_model.checkpoint import load_checkpoint
from radialog_model.config import load_config
from radialog_model.training import dialog as stage
from radialog_model.training.run import train
from tests.model.training.conftest import lora_config


def run(base_llm: Path, dataset: Path, out: Path, **dialog) -> dict[str, torch.Tensor]:
    train(lora_config(base_llm, **dialog), dataset, out, None, lambda line: None)
    return load_file(out / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(base_llm: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("run") / "undisturbed"
    return out, run(base_llm, dataset, out, epochs=2, save_steps=5)


def test_a_run_leaves_a_checkpoint_that_answers_and_says_how_it_was_made(undisturbed) -> None:
    out, _ = undisturbed
    checkpoint = load_checkpoint(out)
    assert checkpoint.training["rows"] == {"report_generation": 26, "view_classification": 26}
    assert (checkpoint.training["datasets"], checkpoint.training["terms"]) == (["demo"], "open")
    assert checkpoint.training["steps"] == 26
    assert checkpoint.training["speed"]["tokens_per_second"] > 0
    assert checkpoint.training["speed"]["mfu"] is None
    assert not (out / "work").exists()
    with pytest.raises(UsageError, match="a finished checkpoint lies here"):
        train(lora_config(Path(checkpoint.training["config"]["base_model"])), out, out, None, print)


def test_the_weights_on_disk_are_not_the_ones_it_began_with(undisturbed) -> None:
    _, state = undisturbed
    learnt = [value for name, value in state.items() if "lora_B" in name]
    assert learnt
    assert all(float(value.abs().max()) > 0 for value in learnt)


@pytest.mark.parametrize("kill_at", [3, 7, 14])
def test_a_resumed_run_ends_like_an_undisturbed_one(
    base_llm: Path, dataset: Path, tmp_path: Path, undisturbed, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    original = stage.EpochEnds.on_step_end

    def dies(self, args, state, control, **kwargs):
        if state.global_step == kill_at:
            raise KilledError
        return original(self, args, state, control, **kwargs)

    out = tmp_path / "out"
    monkeypatch.setattr(stage.EpochEnds, "on_step_end", dies)
    with pytest.raises(KilledError):
        run(base_llm, dataset, out, epochs=2, save_steps=5)
    monkeypatch.setattr(stage.EpochEnds, "on_step_end", original)
    with pytest.raises(UsageError, match="another config.dialog.learning_rate lies here"):
        run(base_llm, dataset, out, epochs=2, save_steps=5, learning_rate=1.0)
    half = out / "work" / "dialog" / "checkpoint-999"  # a save that was cut short
    half.mkdir(parents=True)
    state = run(base_llm, dataset, out, epochs=2, save_steps=5)
    for name, value in undisturbed[1].items():
        assert torch.equal(state[name], value), name


def test_packing_length_grouping_and_the_feature_cache_train(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    for n, levers in enumerate(
        (
            {"grouping": "packed", "feature_cache": True},
            {"grouping": "length", "pixel_cache": True, "workers": 1},
        )
    ):
        out = tmp_path / str(n)
        run(base_llm, dataset, out, throughput=levers)
        described = json.loads((out / "radialog.json").read_text())["training"]
        assert described["padding"] < 0.1
        assert load_checkpoint(out).model.model.vision_tower.config.model_type == "biovil_t"


def test_training_stops_early_on_the_metric_of_generated_reports(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    stopping = {"metric": "ce_macro_f1", "patience": 1, "images": 2}
    lines: list[str] = []
    levers = {"feature_cache": True}
    config = lora_config(
        base_llm,
        inputs={"findings": "off"},
        epochs=4,
        learning_rate=1e-9,
        early_stopping=stopping,
        throughput=levers,
    )
    with pytest.raises(ValidationError, match="how well reference findings are copied"):
        lora_config(base_llm, early_stopping=stopping)
    train(config, dataset, tmp_path / "out", None, lines.append)
    described = json.loads((tmp_path / "out" / "radialog.json").read_text())["training"]
    assert described["steps"] == 26  # two epochs of four: the second brought no better score
    assert 0 <= described["best_ce_macro_f1"] <= 1
    assert any("ce_macro_f1" in line for line in lines)


def test_rows_that_are_too_long_are_counted_and_named(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    train(lora_config(base_llm, longest=240), dataset, tmp_path / "out", None, lines.append)
    described = json.loads((tmp_path / "out" / "radialog.json").read_text())["training"]
    assert 0 < described["left_out"]["report_generation"] < 26
    assert any("longer than dialog.longest" in line for line in lines)
    with pytest.raises(DataError, match="every row is longer"):
        train(lora_config(base_llm, longest=16), dataset, tmp_path / "none", None, lines.append)


def test_the_metric_sees_pixels_where_training_reads_features(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    """On a shape whose image size is not its hidden size, so that one cannot pass for the other."""
    stopping = {"metric": "ce_macro_f1", "patience": 1, "images": 2}
    levers = {"feature_cache": True}
    config = lora_config(base_llm, inputs={"findings": "off"}, early_stopping=stopping, throughput=levers)
    values = config.model_dump() | {"image_size": 96}
    train(config.model_validate(values), dataset, tmp_path / "out", None, lambda line: None)
    assert "best_ce_macro_f1" in load_checkpoint(tmp_path / "out").training


def test_the_ablations_train(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    for name, inputs, learns in (("v", {"image": False}, ["llm"]), ("s", {"findings": "off"}, ["llm", "projector"])):
        config = lora_config(base_llm, train=learns)
        config = config.model_validate(config.model_dump() | {"inputs": inputs, "tasks": ("report_generation",)})
        train(config, dataset, tmp_path / name, None, lambda line: None)
        assert load_checkpoint(tmp_path / name).training["config"]["inputs"]["image"] is (name == "s")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dialog.lora.r=4"], "need 'base_model'"),
        (["dialog.throughput.feature_cache=true", "dialog.train=[llm, tower]"], "frozen tower"),
        (["inputs.findings=predicted"], "predictions"),
        (["tasks=[reports]"], "no task 'reports'"),
        (["dialog.repeat={reports: 2}"], "repeat: reports"),
        (["dialog.epoch=3"], "dialog.epoch"),
        (["dialog.epochs.x=3"], "holds a value"),
        (["dialog"], "--set"),
    ],
)
def test_a_wrong_key_or_value_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config("tiny", overrides)


def test_an_override_reaches_its_key() -> None:
    config = load_config("tiny", ["dialog.epochs=7", "dialog.throughput.workers=2", "seed=3"])
    assert (config.dialog.epochs, config.dialog.throughput.workers, config.seed) == (7, 2, 3)


def test_a_tracker_that_is_not_installed_is_named(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wandb is not installed"):
        train(lora_config(base_llm, report_to=["wandb"]), dataset, tmp_path / "out", None, lambda line: None)


def test_a_pretrained_project_names_its_tower_and_no_lever_is_ignored() -> None:
    with pytest.raises(UsageError, match="tower_weights"):
        load_config("project-ins", ["extractor=x"])
    with pytest.raises(UsageError, match="--extractor"):
        load_config("project-ins", ["tower_weights=random"])
    assert load_config("project-ins", ["tower_weights=random", "extractor=x"]).tower_weights == "random"
    assert load_config("project-no-image", ["extractor=x"]).inputs.image is False
    with pytest.raises(UsageError, match="brings its own tower"):
        load_config("align-ins", ["stage1=x", "image_size=224"])


def test_gradient_checkpointing_learns_the_same(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    plain = run(base_llm, dataset, tmp_path / "plain", max_steps=2)
    recomputed = run(base_llm, dataset, tmp_path / "recomputed", max_steps=2, gradient_checkpointing=True)
    for name, value in plain.items():
        torch.testing.assert_close(recomputed[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
