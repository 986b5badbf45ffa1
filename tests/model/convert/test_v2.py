from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from radialog_instruct.errors import ModelError
from radialog_instruct.terminal import run_app
from radialog_model.checkpoint import load_checkpoint
from radialog_model.cli import app
from radialog_model.convert.base import base_fingerprint, extend_rows, read_base
from radialog_model.convert.v2 import convert_v2
from tests.model.published import Publication, old_features, publish_v2

PIXELS = torch.rand(1, 3, 448, 448, generator=torch.Generator().manual_seed(2))
TEXT = [1, 270, 280, 290]
QUESTION = [300, 290, 310]
SECOND = "pytorch_model-00002-of-00002.bin"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Publication:
    return publish_v2(tmp_path_factory.mktemp("v2"))


@pytest.fixture(scope="module")
def converted(published: Publication, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "radialog"
    assert command(published, out) == 0
    return out


def command(published: Publication, out: Path, *more: str) -> int:
    given = ["convert", "--from", "v2", "--source", str(published.source), "--base", str(published.base)]
    return run_app(app, "radialog-model", [*given, "--output", str(out), "--dtype", "float32", *more])


def source_logits(published: Publication) -> torch.Tensor:
    """What the published code computes: features spliced between the embeddings of the text."""
    llm = LlamaForCausalLM(published.text_config()).eval()
    llm.load_state_dict(published.merged_llm())
    p = published.projector
    features = F.linear(old_features(published.tower, PIXELS), p["mm_projector.0.weight"], p["mm_projector.0.bias"])
    features = F.linear(F.gelu(features), p["mm_projector.2.weight"], p["mm_projector.2.bias"])
    embed = llm.get_input_embeddings()
    spliced = torch.cat([embed(torch.tensor([TEXT])), features, embed(torch.tensor([QUESTION]))], 1)
    with torch.no_grad():
        return llm(inputs_embeds=spliced).logits


def ids(vocab: int) -> torch.Tensor:
    return torch.tensor([[*TEXT, *[vocab] * 196, *QUESTION]])


def test_the_converted_folder_computes_what_the_publication_computes(published: Publication, converted: Path) -> None:
    checkpoint = load_checkpoint(converted)
    with torch.no_grad():
        logits = checkpoint.model(input_ids=ids(published.vocab), pixel_values=PIXELS).logits
    expected = source_logits(published)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits[..., : published.vocab], expected, atol=1e-4, rtol=1e-4)
    added = logits[..., published.vocab]
    torch.testing.assert_close(added, expected.mean(-1), atol=1e-4, rtol=1e-4)
    assert (added < expected.max(-1).values).all()


def test_the_folder_says_what_it_is(converted: Path) -> None:
    described = json.loads((converted / "radialog.json").read_text())
    assert described["training"]["terms"] == "credentialed"
    assert described["training"]["base"]["name"] == "liuhaotian/llava-v1.5-7b"
    card = (converted / "README.md").read_text()
    assert "base_model: liuhaotian/llava-v1.5-7b" in card
    assert "PhysioNet's terms" in card
    tokenizer = load_checkpoint(converted).processor.tokenizer
    assert tokenizer.convert_ids_to_tokens(0) == tokenizer.pad_token == "<unk>"


def test_batchnorm_statistics_are_those_of_the_publication(published: Publication, converted: Path) -> None:
    tower = load_checkpoint(converted).tower
    assert torch.equal(tower.stem[1].running_var, published.tower["encoder.encoder.bn1.running_var"])
    last = tower.blocks[-1]
    assert torch.equal(last.bn3.running_mean, published.tower["encoder.encoder.layer4.0.bn3.running_mean"])
    assert tower.config.freeze_batchnorm


def test_a_fresh_process_generates_with_nothing_but_register(converted: Path) -> None:
    code = (
        "import sys, torch, radialog_model; radialog_model.register()\n"
        "from PIL import Image\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        "m = AutoModelForImageTextToText.from_pretrained(sys.argv[1]); p = AutoProcessor.from_pretrained(sys.argv[1])\n"
        "i = p(text='<s>USER: <image>. ASSISTANT:', images=Image.new('L', (600, 500)), return_tensors='pt',"
        " add_special_tokens=False)\n"
        "print(m.generate(**i, max_new_tokens=4, min_new_tokens=4, do_sample=False).shape[1] - i['input_ids'].shape[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(converted)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4"


def test_a_base_in_the_form_of_transformers_gives_the_same_model(published: Publication, tmp_path: Path) -> None:
    other = publish_v2(tmp_path, hf_base=True)
    silent = {"merge": True, "dtype": torch.float32, "biovilt": None, "log": lambda line: None}
    first = convert_v2(published.source, published.base, **silent)
    second = convert_v2(published.source, other.base, **silent)
    assert first.fingerprint == second.fingerprint
    left, right = first.model.state_dict(), second.model.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_an_adapter_is_kept_and_merges_to_the_same_weights(
    published: Publication, converted: Path, tmp_path: Path
) -> None:
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    assert command(published, adapter, "--no-merge") == 0
    stored = load_file(adapter / "adapter_model.safetensors")
    assert "base_model.model.model.vision_tower.stem.1.running_var" in stored
    assert not any("embed_tokens" in name or "lm_head" in name for name in stored)
    assert not list(adapter.glob("model*.safetensors"))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "liuhaotian/llava-v1.5-7b"
    other = publish_v2(tmp_path / "other").base
    torch.save({n: -v for n, v in torch.load(other / SECOND, weights_only=True).items()}, other / SECOND)
    with pytest.raises(ModelError, match=r"not the base that the adapter .* was trained on"):
        load_checkpoint(adapter, base_model=str(other))
    with pytest.raises(ModelError, match="the base model cannot be loaded"):
        load_checkpoint(adapter)
    given = ["export", "--weights", str(adapter), "--base", str(published.base), "--merge", "--output", str(merged)]
    assert run_app(app, "radialog-model", given) == 0
    left, right = (load_checkpoint(folder).model.state_dict() for folder in (converted, merged))
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=1e-6, rtol=1e-6)


def changed(published: Publication, tmp_path: Path, file: str, change) -> Path:
    source = tmp_path / "changed"
    shutil.copytree(published.source, source)
    state = torch.load(source / file, weights_only=True)
    change(state)
    torch.save(state, source / file)
    return source


def convert(source: Path, base: Path, **more):
    lines: list[str] = []
    given = {"merge": True, "dtype": torch.float32, "biovilt": None, "log": lines.append} | more
    return convert_v2(source, base, **given), lines


def test_lost_statistics_are_refused_and_filled_from_the_published_encoder(
    published: Publication, tmp_path: Path
) -> None:
    def lose(state) -> None:
        for name in [name for name in state if "running_" in name or "num_batches" in name]:
            del state[name]

    source = changed(published, tmp_path, "non_lora_trainables.bin", lose)
    with pytest.raises(ModelError, match="running_mean.*--biovilt"):
        convert(source, published.base)
    torch.save(published.tower, tmp_path / "biovil.pt")
    result, lines = convert(source, published.base, biovilt=tmp_path / "biovil.pt")
    assert any("filled from biovil.pt" in line for line in lines)
    found = result.model.model.vision_tower.stem[1].running_var
    assert torch.equal(found, published.tower["encoder.encoder.bn1.running_var"])


def test_the_extended_file_goes_before_the_plain_one(published: Publication, tmp_path: Path) -> None:
    source = tmp_path / "both"
    shutil.copytree(published.source, source)
    state = torch.load(source / "non_lora_trainables.bin", weights_only=True)
    name = "base_model.model.model.vision_tower.encoder.encoder.bn1.running_mean"
    extended = {f"module.{key}": value for key, value in (state | {name: torch.full((8,), 0.25)}).items()}
    torch.save(extended, source / "non_lora_trainables_extended.bin")
    result, _ = convert(source, published.base)
    assert result.model.model.vision_tower.stem[1].running_mean.tolist() == [0.25] * 8


@pytest.mark.parametrize(
    ("file", "name", "value", "message"),
    [
        (
            "adapter_model.bin",
            "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight",
            None,
            "missing: .*up_proj.lora_A",
        ),
        (
            "adapter_model.bin",
            "base_model.model.model.layers.9.mlp.up_proj.lora_A.weight",
            torch.ones(4, 64),
            "not known: ",
        ),
        (
            "adapter_model.bin",
            "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight",
            torch.ones(3, 64),
            "wrong shape: ",
        ),
        ("adapter_model.bin", "base_model.model.model.norm.weight", torch.ones(64), "no part of a LoRA"),
        ("non_lora_trainables.bin", "base_model.model.model.mm_projector.2.bias", None, "missing: .*linear_2.bias"),
        (
            "non_lora_trainables.bin",
            "base_model.model.model.image_pooler.bert",
            torch.ones(1),
            "does not have: image_pooler",
        ),
    ],
)
def test_what_does_not_fit_is_named(published: Publication, tmp_path: Path, file, name, value, message) -> None:
    def change(state) -> None:
        if value is None:
            del state[name]
        else:
            state[name] = value

    with pytest.raises(ModelError, match=message):
        convert(changed(published, tmp_path, file, change), published.base)


def test_another_base_is_refused(published: Publication, tmp_path: Path) -> None:
    LlamaForCausalLM(published.text_config()).save_pretrained(tmp_path / "vicuna")
    with pytest.raises(
        ModelError, match=r"a language model alone.*give the folder of liuhaotian/llava-v1\.5-7b with --base"
    ):
        convert(published.source, tmp_path / "vicuna")
    wider = tmp_path / "wider"
    shutil.copytree(published.base, wider)
    settings = json.loads((wider / "config.json").read_text()) | {"num_hidden_layers": 3}
    (wider / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="num_hidden_layers 2, here 3"):
        convert(published.source, wider)
    with pytest.raises(ModelError, match=r"config\.json: no such file"):
        convert(published.source, tmp_path)


def test_a_mean_row_never_wins() -> None:
    weight = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    more = extend_rows(weight, 9)
    assert more.shape == (9, 4)
    hidden = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    assert (torch.argmax(hidden @ more.T, 1) < 7).all()
    assert extend_rows(weight, 5) is weight


def test_a_fingerprint_is_of_the_model_and_not_of_the_file(published: Publication) -> None:
    state = read_base(published.base).state
    assert base_fingerprint(state) == base_fingerprint({n: v.bfloat16() for n, v in state.items()})
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    assert base_fingerprint(state) != base_fingerprint(state | {name: -state[name]})
