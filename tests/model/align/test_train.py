from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, ModelError, UsageError
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_instruct.terminal import run_app
from radialog_model.align.build import BuiltAlign, build_align
from radialog_model.align.folder import load_stage1, load_tower
from radialog_model.align.pairs import Pair
from radialog_model.align.presets import align_preset_named
from radialog_model.align.settings import AlignSettings, load_align_settings
from radialog_model.align.train import AlignTrainer, build_stage1, train_stage1
from radialog_model.checkpoint import load_checkpoint, save_checkpoint
from radialog_model.cli import app
from radialog_model.data.rows import read_rows
from radialog_model.generate import Question, answer
from radialog_model.processing import train_tokenizer
from radialog_model.prompts import layout
from tests.model.align.tiny import tiny_stage1


def quiet(line: str) -> None:
    del line


@pytest.fixture(scope="module")
def stage1(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out, lines = tmp_path_factory.mktemp("align") / "stage1", []
    train_stage1(load_align_settings("tiny-align"), dataset, out, None, lines.append)
    return out, lines


def test_a_run_leaves_a_model_its_tokenizer_and_what_was_measured(stage1: tuple[Path, list[str]]) -> None:
    folder, lines = stage1
    model, tokenizer = load_stage1(folder)
    assert model.config.num_query_tokens == 32
    assert len({tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}) == 4
    described = json.loads((folder / "radialog.json").read_text())
    (measured,) = described["training"]["validation"]
    ranks = [f"{way}_recall@{rank}" for way in ("i2t", "t2i") for rank in (1, 5, 10)]
    assert measured.keys() == {*ranks, "recall_mean", "matching_accuracy", "pairs", "reports"}
    assert 0 <= measured["i2t_recall@1"] <= measured["i2t_recall@5"] <= measured["i2t_recall@10"] <= 1
    assert described["notices"]
    assert "contrastive" in lines[0]
    assert "recall mean" in lines[1]
    assert not (folder / "work").exists()
    assert torch.equal(load_tower(str(folder)).projection.weight, model.vision_tower.projection.weight)


class StopError(Exception):
    pass


def test_an_interrupted_run_ends_like_an_undisturbed_one(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Augmentation and dropout on: every random number must come again as it would have.
    settings = load_align_settings("tiny-align", epochs=2, batch_size=8, augment=True)
    train_stage1(settings, dataset, tmp_path / "whole", None, quiet)
    with monkeypatch.context() as patch, pytest.raises(StopError):
        step = AlignTrainer.training_step

        def stop(self, *args, **kwargs):
            if self.state.epoch and self.state.epoch > 1:
                raise StopError
            return step(self, *args, **kwargs)

        patch.setattr(AlignTrainer, "training_step", stop)
        train_stage1(settings, dataset, tmp_path / "cut", None, quiet)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    with pytest.raises(UsageError, match=r"another config\.dropout lies here: 0\.1 then, 0\.0 now"):
        train_stage1(settings.model_copy(update={"dropout": 0.0}), dataset, tmp_path / "cut", None, quiet)
    # killed while it saved: Trainer writes its state last
    (tmp_path / "cut" / "work" / "checkpoint-900").mkdir()
    train_stage1(settings, dataset, tmp_path / "cut", None, quiet)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    first, second = (json.loads((tmp_path / n / "radialog.json").read_text())["training"] for n in ("whole", "cut"))
    assert first == second


def test_the_learning_rate_rises_from_its_start_and_falls_to_its_end(
    dataset: Path, tmp_path: Path, monkeypatch
) -> None:
    rates = []
    step = AlignTrainer.training_step

    def watch(self, *args, **kwargs):
        rates.append(self.optimizer.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(AlignTrainer, "training_step", watch)
    settings = load_align_settings("tiny-align", epochs=3, batch_size=8, warmup_steps=4, keep_best=True)
    train_stage1(settings, dataset, tmp_path / "o", None, quiet)
    assert len(rates) == 9
    assert rates[0] == pytest.approx(1e-6)
    assert max(rates) == rates[3] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)


def test_a_tower_that_lost_its_statistics_is_refused(tmp_path: Path) -> None:
    tower = tiny_stage1().vision_tower
    tower.save_pretrained(tmp_path)
    kept = load_tower(str(tmp_path)).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in tower.state_dict().items())
    state = load_file(tmp_path / "model.safetensors")
    lost = min(name for name in state if name.endswith("running_var"))
    del state[lost]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"1 tensors of the tower are missing, first {re.escape(lost)}"):
        load_tower(str(tmp_path))


def test_a_given_tower_is_kept_as_it_is(stage1: tuple[Path, list[str]], weights: Path) -> None:
    settings = load_align_settings("tiny-align", tower=str(weights), freeze_tower=True)
    model, _ = build_stage1(settings, ["Clear lungs."], quiet)
    tower = load_tower(str(weights))
    assert model.vision_tower.config.depths == tower.config.depths
    assert all(torch.equal(v, tower.state_dict()[n]) for n, v in model.vision_tower.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.vision_tower.parameters())


def test_released_bugs_widen_what_the_queries_read() -> None:
    model, _ = build_stage1(load_align_settings("tiny-align", released_bugs=True), ["Clear lungs."], quiet)
    assert model.query_transformer.norm.normalized_shape == (1408,)


def test_the_papers_sizes() -> None:
    preset = align_preset_named("align-biovilt")
    assert (preset.queries, preset.projection_dim, preset.max_text_length) == (32, 256, 256)
    settings = load_align_settings("align-stage1", tower="given")
    assert (settings.learning_rate, settings.min_learning_rate, settings.weight_decay) == (1e-4, 1e-5, 0.05)
    assert settings.freeze_tower
    assert not settings.augment
    assert not settings.released_bugs


def test_the_same_report_has_the_same_number() -> None:
    assert Pair("a", "Clear.").number == Pair("b", "Clear.").number != Pair("a", "Not clear.").number


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "align-tiny", "epochs": 1, "warmup_steps": 1, "speed": 3}, "speed: Extra inputs are not permitted"),
        ({"preset": "align-tiny", "epochs": 1}, "give either warmup_steps or warmup_epochs"),
        ({"preset": "align-tiny", "epochs": 1, "warmup_steps": 1, "batch_size": 1}, "batch_size: .*greater than"),
        (
            {"preset": "align-tiny", "epochs": 1, "warmup_steps": 1, "tower": "t", "keep_best": True, "save_steps": 2},
            "epochs",
        ),
    ],
)
def test_wrong_keys_are_named(values: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=message):
        load_align_settings(str(tmp_path / "c.yaml"))


def test_what_cannot_be_trained_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="random weights would be kept"):
        load_align_settings("tiny-align", freeze_tower=True)
    with pytest.raises(DataError, match="do not fill a batch of 999"):
        train_stage1(load_align_settings("tiny-align", batch_size=999), dataset, tmp_path / "o", None, quiet)
    with pytest.raises(UsageError, match="choose from: align-biovilt, align-tiny"):
        align_preset_named("huge")
    with pytest.raises(ModelError, match="no tower can be loaded"):
        load_tower(str(tmp_path))
    with pytest.raises(ModelError, match="give the folder that radialog-model align wrote"):
        load_stage1(tmp_path)
    assert isinstance(load_align_settings("tiny-align"), AlignSettings)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--config", "huge"), 2, "give a YAML file or one of: align-stage1, tiny-align"),
        (("--config", "align-stage1"), 2, "give a trained tower (--tower)"),
        (("--config", "tiny-align", "--tower", "{tmp}"), 4, "no tower can be loaded"),
        (("--config", "tiny-align", "--image-root", "{tmp}"), 3, "images are missing"),
        (("--config", "tiny-align", "--data", "{tmp}"), 3, "no built dataset here"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["align", "--data", str(dataset), "--output", str(tmp_path / "o")]
    given += [argument.format(tmp=tmp_path) for argument in arguments]
    assert run_app(app, "radialog-model", given) == code
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("radialog-model: ")
    assert message in error[-1]


def test_from_the_demo_to_a_model_that_writes_reports_it_has_learnt(
    dataset: Path, stage1: tuple[Path, list[str]], tmp_path: Path
) -> None:
    train = read_rows(dataset, "train", ("report_generation",))[:2]
    tokenizer = train_tokenizer([turn.content for row in train for turn in row.turns], 400)
    torch.manual_seed(0)
    made = build_align(stage1[0], tokenizer=tokenizer)
    model = made.model.train()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, 3e-3)
    examples = [example(made, row.turns, row.image) for row in train]
    losses = []
    for _ in range(50):
        loss = sum(model(**inputs).loss for inputs in examples) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    save_checkpoint(tmp_path, model, made.processor, None, (), {})
    checkpoint = load_checkpoint(tmp_path)
    asked = [Question(row.turns[:1], "report_generation", load_image(demo_dir() / row.image)) for row in train]
    beginnings = {row.turns[-1].content[:12] for row in train}  # a tower of one epoch cannot tell the images apart
    assert {result.text[:12] for result in answer(checkpoint, asked, max_new_tokens=20)} <= beginnings


def example(made: BuiltAlign, turns: tuple[Turn, ...], image: str) -> dict[str, torch.Tensor]:
    processor = made.processor
    chat = layout(turns, None, variant="align")
    prompt, whole = (
        "<s>" + processor.tokenizer.apply_chat_template(c, tokenize=False, chat_template=processor.chat_template)
        for c in (chat[:-1], chat)
    )
    given = {"images": [load_image(demo_dir() / image)], "return_tensors": "pt", "add_special_tokens": False}
    inputs = processor(text=[whole], **given)
    labels = inputs["input_ids"].clone()
    labels[:, : processor(text=[prompt], **given)["input_ids"].shape[1]] = -100
    return {**inputs, "labels": labels}
