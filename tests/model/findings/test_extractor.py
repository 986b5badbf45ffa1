from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    Dinov2Config,
)

from radialog_instruct.assets import demo_dir, demonstration_weights_dir
from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.findings import FINDINGS, findings_text
from radialog_instruct.sources.images import load_image
from radialog_model.biovil import BioViLTConfig
from radialog_model.checkpoint import load_checkpoint, save_checkpoint
from radialog_model.findings import FindingsConfig, FindingsExtractor, FindingsHead, FindingsModel
from radialog_model.findings.backbone import build_extractor
from radialog_model.findings.config import FindingsTrainConfig
from radialog_model.findings.opening import open_predictor
from radialog_model.findings.thresholds import present, project_order, threshold_tensor
from radialog_model.generate import predict_findings
from tests.model.findings.conftest import TINY, scrambled

IMAGES = [load_image(path) for path in sorted((demo_dir() / "images").glob("*.jpg"))[:3]]
CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64}


@pytest.mark.parametrize(
    ("head", "backbone"),
    [
        ("linear", BioViLTConfig(**TINY, image_size=64)),
        ("released", BioViLTConfig(**TINY, image_size=64)),
        ("linear", CLIPVisionConfig(**CLIP, patch_size=16)),
        (
            "linear",
            Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16),
        ),
    ],
)
def test_saving_and_loading_changes_nothing(head: str, backbone: object, tmp_path: Path) -> None:
    extractor = scrambled(head, backbone)
    extractor.save_pretrained(tmp_path)
    again = FindingsExtractor.load(tmp_path)
    before = extractor.probabilities(IMAGES)
    assert before.shape == (3, 14)
    assert not torch.equal(before[0], before[1])
    assert torch.equal(again.probabilities(IMAGES), before)
    assert again.fingerprint == extractor.fingerprint
    again.save_pretrained(tmp_path / "twice")
    FindingsExtractor.load(tmp_path / "twice").save_pretrained(tmp_path / "thrice")
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / "thrice" / name).read_bytes()
    assert (tmp_path / "twice" / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_batch_says_what_single_images_say() -> None:
    extractor = scrambled("released")
    whole = extractor.probabilities(IMAGES)
    single = torch.cat([extractor.probabilities([image]) for image in IMAGES])
    assert torch.allclose(whole, single, atol=1e-6)
    assert extractor.texts(IMAGES) == [extractor.texts([image])[0] for image in IMAGES]


def test_the_released_head_has_the_published_sizes_at_488_pixels() -> None:
    with torch.device("meta"):
        model = FindingsModel(FindingsConfig(head="released"))
        logits = model(torch.zeros(1, 3, 488, 488)).logits
    assert logits.shape == (1, 14)
    assert model.head.fc1.weight.shape == (512, 128 * 4 * 4)
    assert model.head.projector[0].weight.shape == (128, 512, 1, 1)
    with pytest.raises(ValueError, match="reads a biovil_t backbone, not clip_vision_model"):
        FindingsConfig(head="released", backbone_config={"model_type": "clip_vision_model"})


def test_classes_go_by_name_in_an_extractor_and_in_a_head(tmp_path: Path) -> None:
    extractor = scrambled(thresholds={name: 0.3 + 0.01 * i for i, name in enumerate(FINDINGS)})
    extractor.save_pretrained(tmp_path)
    order = [*range(1, 14), 0]  # CheXbert's habit: No Finding last
    state = load_file(tmp_path / "model.safetensors")
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][order].contiguous()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    config["classes"] = [FINDINGS[i] for i in order]
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = FindingsExtractor.load(tmp_path)
    assert torch.allclose(again.probabilities(IMAGES), extractor.probabilities(IMAGES), atol=1e-7)
    assert again.thresholds == extractor.thresholds
    assert again.texts(IMAGES) == extractor.texts(IMAGES)

    head = FindingsHead(4)
    head.thresholds.copy_(torch.linspace(0.1, 0.9, 14).half().float())
    head.load_state_dict({k: v.half().float() for k, v in head.state_dict().items()})
    head.save(tmp_path)
    weights = {k: v[order].contiguous() for k, v in load_file(tmp_path / "findings_head.safetensors").items()}
    save_file(weights, tmp_path / "findings_head.safetensors")
    (tmp_path / "findings_head.json").write_text(json.dumps({"classes": [FINDINGS[i] for i in order]}))
    loaded = FindingsHead.load(tmp_path)
    assert loaded is not None
    assert all(torch.equal(value, head.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", ["Edema"] * 14, "no class 'No Finding'"),
        ("classes", [*FINDINGS[:13], "Tuberculosis"], "unknown class 'tuberculosis'"),
        ("classes", [*FINDINGS, "Edema"], "a class stands twice"),
        ("thresholds", {"Edema": 0.5}, "no class 'No Finding'"),
        ("thresholds", dict.fromkeys(FINDINGS, 2.0), "not between 0 and 1"),
        ("head", "released", "do not fit"),
    ],
)
def test_an_extractor_that_does_not_fit_is_refused(key: str, value: object, message: str, tmp_path: Path) -> None:
    scrambled().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        FindingsExtractor.load(tmp_path)


def test_a_head_with_unknown_classes_is_refused(tmp_path: Path) -> None:
    FindingsHead(4).save(tmp_path)
    (tmp_path / "findings_head.json").write_text(json.dumps({"classes": [*FINDINGS[:13], "Tuberculosis"]}))
    with pytest.raises(ModelError, match="unknown class 'tuberculosis'"):
        FindingsHead.load(tmp_path)


def test_texts_at_their_edges() -> None:
    half = threshold_tensor(dict.fromkeys(FINDINGS, 0.5))

    def text(*names: str) -> str:
        probabilities = torch.tensor([0.5 if name in names else 0.49 for name in FINDINGS])
        return findings_text(present(probabilities, half))

    assert text() == "no common findings"
    assert text("No Finding") == "no finding"
    assert text("No Finding", "Support Devices") == "no finding, support devices"
    assert text("No Finding", "Edema") == "edema"
    assert text(*FINDINGS) == ", ".join(FINDINGS[1:]).lower()


def test_thresholds_are_stored_by_name_whatever_their_order() -> None:
    shuffled = {name: i / 20 for i, name in reversed(list(enumerate(FINDINGS)))}
    assert threshold_tensor(shuffled).tolist() == pytest.approx([i / 20 for i in range(14)])
    assert project_order(["no findings", *FINDINGS[1:]]) == list(range(14))


def test_the_fingerprint_follows_weights_thresholds_and_pixels() -> None:
    base = scrambled().fingerprint
    assert scrambled().fingerprint == base
    assert scrambled(thresholds={**dict.fromkeys(FINDINGS, 0.5), "Edema": 0.4}).fingerprint != base
    other = scrambled()
    other.model.head.bias.data[0] += 1e-3
    assert other.fingerprint != base
    other = scrambled()
    other.image_processor.size = {"shortest_edge": 80}
    assert other.fingerprint != base


def test_a_checkpoint_carries_an_extractor_in_a_subfolder(weights: Path, tmp_path: Path) -> None:
    before = load_checkpoint(weights)
    extractor = scrambled()
    folder = tmp_path / "with"
    save_checkpoint(folder, before.model, before.processor, extractor, (), {})
    loaded = load_checkpoint(folder)
    assert isinstance(loaded.findings, FindingsExtractor)
    assert predict_findings(loaded, IMAGES) == extractor.texts(IMAGES)
    assert loaded.fingerprint != before.fingerprint
    assert open_predictor(folder).fingerprint == extractor.fingerprint
    assert open_predictor(folder / "findings").fingerprint == extractor.fingerprint
    for name in ("findings_head.json", "findings_head.safetensors"):
        shutil.copy(weights / name, folder)
    with pytest.raises(ModelError, match="a findings head and a findings extractor"):
        load_checkpoint(folder)


def test_a_checkpoint_without_findings_has_none_and_says_so(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bare"
    shutil.copytree(weights, copy, ignore=shutil.ignore_patterns("findings_head*"))
    assert predict_findings(load_checkpoint(copy), IMAGES) == [None, None, None]
    with pytest.raises(ModelError, match="no findings extractor"):
        open_predictor(copy)


def test_the_head_of_a_checkpoint_survives_being_saved_with_it(weights: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(weights)
    save_checkpoint(tmp_path / "again", loaded.model, loaded.processor, loaded.findings, (), {})
    for name in ("findings_head.json", "findings_head.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (weights / name).read_bytes()


def test_the_shipped_head_says_what_it_said() -> None:
    predictor = open_predictor()
    image = load_image(demo_dir() / "images" / "hannover-40f355ec.jpg")
    assert predictor.texts([image]) == ["lung opacity, pneumothorax, support devices"]
    assert predictor.fingerprint == load_checkpoint(demonstration_weights_dir()).fingerprint


def test_transformers_own_classes_load_an_extractor(tmp_path: Path) -> None:
    extractor = scrambled()
    extractor.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "radialog_findings"
    model = AutoModelForImageClassification.from_pretrained(tmp_path).train(False)
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(model(pixels).logits, extractor.model(pixels).logits)


def test_the_vision_half_of_a_clip_is_taken_with_its_weights(tmp_path: Path) -> None:
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config={**CLIP, "patch_size": 16}))
    clip.save_pretrained(tmp_path)
    scrambled().image_processor.save_pretrained(tmp_path)
    model, processor = build_extractor(FindingsTrainConfig(backbone=str(tmp_path), freeze=True, crop=64, resize=70))
    pixels = torch.rand(1, 3, 64, 64)
    wanted = clip.train(False).vision_model(pixels).pooler_output
    assert torch.allclose(model.train(False).features(pixels), wanted, atol=1e-6)
    assert processor.size["shortest_edge"] == 70
    assert not any(p.requires_grad for p in model.backbone.parameters())
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="no image processor"):
        build_extractor(FindingsTrainConfig(backbone=str(tmp_path)))


def test_a_backbone_that_lacks_weights_or_is_none_is_refused(tmp_path: Path) -> None:
    model = scrambled().model.backbone
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in state if "conv" in name)
    save_file({k: v for k, v in state.items() if k != lost}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 of the backbone's weights"):
        build_extractor(FindingsTrainConfig(backbone=str(tmp_path)))
    with pytest.raises(ModelError, match="the backbone cannot be loaded"):
        build_extractor(FindingsTrainConfig(backbone=str(tmp_path / "none")))
    with pytest.raises(UsageError, match="reads a biovil_t backbone"):
        build_extractor(FindingsTrainConfig(backbone="clip", head="released"))
