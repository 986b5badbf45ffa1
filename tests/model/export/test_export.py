from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionConfig,
    Dinov2Config,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from radialog_instruct.assets import demo_dir, demonstration_weights_dir
from radialog_instruct.errors import ModelError
from radialog_instruct.terminal import run_app
from radialog_model.checkpoint import load_checkpoint, save_checkpoint, validate_tokens
from radialog_model.cli import app
from radialog_model.findings import FindingsExtractor
from radialog_model.generate import predict_findings
from radialog_model.processing import build_processor
from tests.model.findings.conftest import scrambled
from tests.model.published import llama, tokenizer_json

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("radialog_model", "radialog_instruct", "radialog_bench"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
"""


def export(*options: str) -> int:
    return run_app(app, "radialog-model", ["export", *options])


def build(folder: Path, vision) -> Path:
    """A LLaVA with a tower of transformers' own."""
    torch.manual_seed(0)
    backend = tokenizer_json()
    backend.add_special_tokens(["<image>"])
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **tokens, extra_special_tokens={"image_token": "<image>"}
    )
    with_class = not isinstance(vision, SiglipVisionConfig)
    config = LlavaConfig(
        vision_config=vision,
        text_config=llama(len(tokenizer)),
        image_token_index=len(tokenizer) - 1,
        image_seq_length=4,
        vision_feature_select_strategy="default" if with_class else "full",
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor = build_processor(tokenizer, vision, image_size=28)
    processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    processor.num_additional_image_tokens = int(with_class)
    processor.save_pretrained(folder)
    return folder


def vit(kind: type):
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    return kind(**sizes, **({} if kind is Dinov2Config else {"intermediate_size": 24}))


def logits(folder: Path) -> torch.Tensor:
    model = load_checkpoint(folder).model
    side = model.config.vision_config.image_size
    ids = [1, 270, *[model.config.image_token_index] * model.config.image_seq_length, 280]
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_whole_checkpoint_keeps_its_logits_and_its_findings_head(tmp_path: Path, dtype: str) -> None:
    out = tmp_path / "out"
    assert export("--output", str(out), "--dtype", dtype, "--max-shard-size", "2MB") == 0
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    assert (out / "findings_head.safetensors").is_file()
    stored = load_file(sorted(out.glob("model-*"))[0])
    assert {str(v.dtype) for v in stored.values() if v.is_floating_point()} == {f"torch.{dtype}"}
    expected = logits(None)
    close = {"float32": 1e-5, "bfloat16": 0.05 * float(expected.abs().max())}[dtype]
    torch.testing.assert_close(logits(out), expected, atol=close, rtol=0)


def test_a_stand_alone_extractor_goes_along_and_says_the_same(tmp_path: Path) -> None:
    shipped, extractor = load_checkpoint(), scrambled()
    source, out = tmp_path / "source", tmp_path / "out"
    save_checkpoint(source, shipped.model, shipped.processor, extractor, (), {})
    (source / "findings" / "work").mkdir()
    assert export("--weights", str(source), "--output", str(out)) == 0
    assert not (out / "findings" / "work").exists()
    assert export("--weights", str(source), "--output", str(out), "--force") == 0
    loaded = load_checkpoint(out)
    assert isinstance(loaded.findings, FindingsExtractor)
    assert loaded.findings.fingerprint == extractor.fingerprint
    images = [Image.new("L", (90, 80), grey) for grey in (0, 128, 255)]
    assert predict_findings(loaded, images) == extractor.texts(images)
    assert export("--weights", str(source), "--output", str(tmp_path / "text"), "--format", "text") == 0
    assert not (tmp_path / "text" / "findings").exists()


def test_an_adapters_extractor_goes_along(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    shutil.copyfile(demonstration_weights_dir() / "config.json", source / "config.json")
    (source / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/model"}))
    (source / "adapter_model.safetensors").touch()
    (source / "work").mkdir()
    scrambled().save(source)
    assert export("--weights", str(source), "--output", str(out)) == 0
    assert FindingsExtractor.load(out / "findings").fingerprint == scrambled().fingerprint
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["findings"]


def card_code(folder: Path) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S))


def test_the_code_that_travels_is_enough_where_the_package_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export("--output", str(out), "--auto-map", "--dtype", "float32") == 0
    expected = logits(out)
    assert type(load_checkpoint(out).model) is LlavaForConditionalGeneration
    shutil.copyfile(sorted((demo_dir() / "images").glob("*.jpg"))[0], out / "chest.jpg")
    assert "vllm serve . --model-impl transformers --trust-remote-code\n" in (out / "README.md").read_text()
    code = BLOCKED + card_code(out).replace("max_new_tokens=300", "max_new_tokens=8")
    code += f"""
import torch
pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
ids = torch.tensor([[1, 270, *[model.config.image_token_index] * 49, 280]])
with torch.no_grad():
    torch.save(model(input_ids=ids, pixel_values=pixels).logits, {str(tmp_path / "logits.pt")!r})
"""
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 5
    assert torch.equal(torch.load(tmp_path / "logits.pt", weights_only=True), expected)


@pytest.mark.parametrize("form", ["hf", "text"])
def test_the_cards_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    out = tmp_path / "out"
    assert export("--output", str(out), "--format", form) == 0
    shutil.copyfile(sorted((demo_dir() / "images").glob("*.jpg"))[0], out / "chest.jpg")
    monkeypatch.chdir(out)
    capsys.readouterr()
    exec(re.sub(r"max_new_tokens=\d+", "max_new_tokens=8", card_code(out)), {})
    assert len(capsys.readouterr().out.strip()) > 1


def test_the_cards_metadata_is_what_the_hub_reads(tmp_path: Path) -> None:
    out = tmp_path / "my-model"
    assert export("--output", str(out), "--license", "apache-2.0") == 0
    text = (out / "README.md").read_text()
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["pipeline_tag"] == "image-text-to-text"
    assert metadata["library_name"] == "transformers"
    assert metadata["license"] == "apache-2.0"
    assert "radiology" in metadata["tags"]
    assert "# my-model" in text
    assert "not for clinical use" in text
    assert "vllm serve . --model-impl transformers" in text
    assert "| report_generation | 571 |" in text


@pytest.mark.parametrize("kind", [CLIPVisionConfig, SiglipVisionConfig])
def test_vllm_finds_its_names_and_transformers_reads_them_equal(tmp_path: Path, kind: type) -> None:
    source, out = build(tmp_path / "source", vit(kind)), tmp_path / "out"
    assert export("--weights", str(source), "--output", str(out), "--format", "vllm", "--max-shard-size", "100KB") == 0
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    tower = [name for name in index if "vision_tower." in name]
    assert tower
    assert all("vision_tower.vision_model." in name for name in tower)
    assert all(name in load_file(out / file) for name, file in index.items())
    assert torch.equal(logits(out), logits(source))
    assert "vllm serve .\n" in (out / "README.md").read_text()


def test_towers_vllm_does_not_run_natively_are_told_what_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = build(tmp_path / "source", vit(Dinov2Config))
    assert export("--weights", str(source), "--output", str(tmp_path / "out"), "--format", "vllm") == 2
    said = capsys.readouterr().err
    assert "dinov2" in said
    assert "--model-impl transformers" in said
    assert export("--weights", str(source), "--output", str(tmp_path / "out"), "--auto-map") == 2
    assert "transformers itself loads the tower dinov2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_language_model_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export("--output", str(out), "--format", "text", "--dtype", "float32") == 0
    alone = AutoModelForCausalLM.from_pretrained(out)
    whole = load_checkpoint().model
    ids = torch.tensor([[1, 270, 280, 290]])
    with torch.no_grad():
        assert torch.equal(alone(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert not any("vision" in name for name in load_file(out / "model.safetensors"))
    assert AutoTokenizer.from_pretrained(out).encode("Clear lungs.") == load_checkpoint().processor.tokenizer.encode(
        "Clear lungs."
    )
    assert "**alone**: it sees no image" in (out / "README.md").read_text()


def test_options_that_do_not_fit_and_folders_that_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--output", str(tmp_path / "out"), "--merge") == 2
    assert "nothing to merge" in capsys.readouterr().err
    assert export("--output", str(tmp_path / "out"), "--max-shard-size", "big") == 2
    assert export("--output", str(tmp_path / "out"), "--weights", str(tmp_path)) == 4
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    assert export("--output", str(tmp_path / "full")) == 2
    assert export("--output", str(tmp_path / "full"), "--force") == 2
    assert (tmp_path / "full" / "notes.txt").exists()
    assert not (tmp_path / "out").exists()


def test_an_index_keeps_the_findings_head_out_of_the_models_weights(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export("--output", str(out)) == 0
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert index.keys() == load_file(out / "model.safetensors").keys()
    assert set(index.values()) == {"model.safetensors"}
    assert torch.equal(logits(out), logits(None))


def test_damaged_checkpoints_are_named_on_load(tmp_path: Path) -> None:
    source = build(tmp_path / "source", vit(CLIPVisionConfig))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"image_token_index": 7}))
    with pytest.raises(ModelError, match="<image> is token 379 to the tokenizer and 7 to the model"):
        load_checkpoint(source)
    text = config["text_config"] | {"num_hidden_layers": 1}
    (source / "config.json").write_text(json.dumps(config | {"text_config": text}))
    with pytest.raises(ModelError, match=r"unexpected keys: .*\(9 in all\)"):
        load_checkpoint(source)


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused() -> None:
    checkpoint = load_checkpoint()
    checkpoint.processor.tokenizer.add_tokens(["new"])
    with pytest.raises(ModelError, match="the tokenizer has 1001 tokens, the embeddings only 1000 rows"):
        validate_tokens(checkpoint.model, checkpoint.processor)


def test_grey_images_need_no_colours() -> None:
    processor = load_checkpoint().processor
    pixels = processor.image_processor(images=Image.new("L", (300, 300), 128), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 224, 224)
