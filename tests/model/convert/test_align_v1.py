"""RaDialog v1 from synthetic tensors under the published names, against a small forward pass written from those names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from radialog_instruct.errors import ModelError
from radialog_model.biovil import BioViLTConfig, BioViLTModel
from radialog_model.checkpoint import load_checkpoint, save_checkpoint
from radialog_model.convert.align_v1 import convert_align_v1, convert_v1_stage1, read_v1_stage1
from tests.model.align.tiny import TOWER, scramble

QUERIES, HIDDEN, HEADS, INNER, WIDTH, WORDS, POSITIONS, LAYERS = 6, 32, 4, 48, 40, 50, 24, 3
LORA_RANK, LORA_ALPHA = 2, 4.0


def linear(state: dict[str, Tensor], name: str, out: int, given: int, draw) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = draw(out, given), draw(out)


def norm(state: dict[str, Tensor], name: str, width: int, draw) -> None:
    state[f"{name}.weight"], state[f"{name}.bias"] = 1 + draw(width), draw(width)


def attention(state: dict[str, Tensor], name: str, given: int, draw) -> None:
    linear(state, f"{name}.self.query", HIDDEN, HIDDEN, draw)
    for part in ("key", "value"):
        linear(state, f"{name}.self.{part}", HIDDEN, given, draw)
    linear(state, f"{name}.output.dense", HIDDEN, HIDDEN, draw)
    norm(state, f"{name}.output.LayerNorm", HIDDEN, draw)


def published_stage1(tower: BioViLTModel) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    state = {"query_tokens": draw(1, QUERIES, HIDDEN), "temp": torch.tensor(0.05)}
    bert = "Qformer.bert."
    state[f"{bert}embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    state[f"{bert}embeddings.word_embeddings.weight"] = draw(WORDS, HIDDEN)
    state[f"{bert}embeddings.position_embeddings.weight"] = draw(POSITIONS, HIDDEN)
    norm(state, f"{bert}embeddings.LayerNorm", HIDDEN, draw)
    for number in range(LAYERS):
        layer = f"{bert}encoder.layer.{number}."
        attention(state, f"{layer}attention", HIDDEN, draw)
        if number % 2 == 0:
            attention(state, f"{layer}crossattention", WIDTH, draw)
        for branch in ("", "_query"):
            linear(state, f"{layer}intermediate{branch}.dense", INNER, HIDDEN, draw)
            linear(state, f"{layer}output{branch}.dense", HIDDEN, INNER, draw)
            norm(state, f"{layer}output{branch}.LayerNorm", HIDDEN, draw)
    head = "Qformer.cls.predictions."
    linear(state, f"{head}transform.dense", HIDDEN, HIDDEN, draw)
    norm(state, f"{head}transform.LayerNorm", HIDDEN, draw)
    state[f"{head}bias"] = draw(WORDS)
    state[f"{head}decoder.weight"] = state[f"{bert}embeddings.word_embeddings.weight"].clone()
    state[f"{head}decoder.bias"] = state[f"{head}bias"].clone()
    norm(state, "ln_vision", WIDTH, draw)
    for name, out in (("vision_proj", 12), ("text_proj", 12), ("itm_head", 2)):
        linear(state, name, out, HIDDEN, draw)
    # What the original kept of its frozen tower: BatchNorm's statistics, as they are no parameters.
    first = tower.stem[1]
    state["visual_encoder.encoder.encoder.bn1.running_mean"] = first.running_mean.clone()
    last = tower.blocks[2].downsample[1]
    state["visual_encoder.encoder.encoder.layer3.0.downsample.1.running_var"] = last.running_var.clone()
    state["visual_encoder.encoder.vit_pooler.norm_post.num"] = torch.zeros(1)
    return state


def published_projector() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(8)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    return {
        "model.0.weight": draw(WIDTH, 32, 1, 1),
        "model.1.weight": 1 + draw(WIDTH),
        "model.1.bias": draw(WIDTH),
        "model.1.running_mean": draw(WIDTH),
        "model.1.running_var": 1 + draw(WIDTH).abs(),
        "model.1.num_batches_tracked": torch.tensor(3),
        "model.3.weight": draw(WIDTH, WIDTH, 1, 1),
        "model.3.bias": draw(WIDTH),
    }


def published_adapter() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    adapter = {
        "base_model.model.model.img_proj_layer.weight": torch.randn(64, HIDDEN, generator=generator) * 0.3,
        "base_model.model.model.img_proj_layer.bias": torch.randn(64, generator=generator) * 0.3,
    }
    for number in range(2):
        for kind in ("q_proj", "v_proj"):
            name = f"base_model.model.model.layers.{number}.self_attn.{kind}"
            adapter[f"{name}.lora_A.weight"] = torch.randn(LORA_RANK, 64, generator=generator) * 0.3
            adapter[f"{name}.lora_B.weight"] = torch.randn(64, LORA_RANK, generator=generator) * 0.3
    return adapter


def old_queries(state: dict[str, Tensor], projector: dict[str, Tensor], patches: Tensor) -> Tensor:
    """The image path of the old layout: [batch, channels, height, width] of the tower to the queries' last states."""

    def dense(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def normed(name: str, x: Tensor, eps: float = 1e-12) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def attend(name: str, x: Tensor, seen: Tensor) -> Tensor:
        def split(part: str, y: Tensor) -> Tensor:
            return dense(f"{name}.self.{part}", y).unflatten(-1, (HEADS, -1)).transpose(1, 2)

        scores = split("query", x) @ split("key", seen).transpose(-1, -2) / math.sqrt(HIDDEN / HEADS)
        mixed = (scores.softmax(-1) @ split("value", seen)).transpose(1, 2).flatten(-2)
        return normed(f"{name}.output.LayerNorm", dense(f"{name}.output.dense", mixed) + x)

    batch = len(patches)
    x = torch.einsum("oc,bchw->bohw", projector["model.0.weight"][:, :, 0, 0], patches)
    scale = projector["model.1.weight"] / (projector["model.1.running_var"] + 1e-5).sqrt()
    x = (x - projector["model.1.running_mean"][:, None, None]) * scale[:, None, None]
    x = torch.relu(x + projector["model.1.bias"][:, None, None])
    x = torch.einsum("oc,bchw->bohw", projector["model.3.weight"][:, :, 0, 0], x)
    x = x + projector["model.3.bias"][:, None, None]
    seen = normed("ln_vision", x.reshape(batch, -1, WIDTH), 1e-5)  # as released: no transpose before
    hidden = normed("Qformer.bert.embeddings.LayerNorm", state["query_tokens"].expand(batch, -1, -1))
    for number in range(LAYERS):
        layer = f"Qformer.bert.encoder.layer.{number}."
        hidden = attend(f"{layer}attention", hidden, hidden)
        if number % 2 == 0:
            hidden = attend(f"{layer}crossattention", hidden, seen)
        inner = functional.gelu(dense(f"{layer}intermediate_query.dense", hidden))
        hidden = normed(f"{layer}output_query.LayerNorm", dense(f"{layer}output_query.dense", inner) + hidden)
    return hidden


@pytest.fixture(scope="module")
def tower() -> BioViLTModel:
    torch.manual_seed(0)
    made = BioViLTModel(BioViLTConfig(**TOWER))
    scramble(made)
    return made.eval()


def base_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that does not know the placeholder, as Vicuna's does not."""
    words = ["<pad>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", *(f"word{n}" for n in range(40))]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<pad>", bos_token="<s>", eos_token="</s>")


def language_model() -> LlamaForCausalLM:
    torch.manual_seed(2)
    size = len(base_tokenizer())
    config = LlamaConfig(
        vocab_size=size, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4
    )
    model = LlamaForCausalLM(config)
    scramble(model)
    return model.eval()


def converted(tower: BioViLTModel):
    return convert_align_v1(
        published_stage1(tower),
        published_adapter(),
        tower=tower,
        language_model=language_model(),
        tokenizer=base_tokenizer(),
        projector=published_projector(),
        lora_alpha=LORA_ALPHA,
        heads=HEADS,
    )


def channels(tower: BioViLTModel, pixels: Tensor) -> Tensor:
    current = tower.patch_features(pixels)
    missing = tower.missing_previous.weight[0][None, :, None, None].expand_as(current)
    return torch.cat((current, missing), 1)


def test_the_queries_are_those_of_the_old_layout(tower: BioViLTModel) -> None:
    pixels = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        expected = old_queries(published_stage1(tower), published_projector(), channels(tower, pixels))
        model = converted(tower).model
        patches = model.model.vision_tower(pixels).last_hidden_state
        seen = model.model.multi_modal_projector.query_transformer(patches)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_the_language_model_reads_them_through_img_proj_layer_and_the_lora(tower: BioViLTModel) -> None:
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    adapter, pixels = published_adapter(), torch.rand(1, 3, 64, 64)
    before, after = [1, 40, 41], [42, 43]
    with torch.no_grad():
        queries = old_queries(published_stage1(tower), published_projector(), channels(tower, pixels))
        name = "base_model.model.model.img_proj_layer"
        image = queries @ adapter[f"{name}.weight"].T + adapter[f"{name}.bias"]
        config = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=["q_proj", "v_proj"])
        old = get_peft_model(language_model(), config)
        set_peft_model_state_dict(old, {k: v for k, v in adapter.items() if "lora_" in k})
        embed = old.get_input_embeddings()
        embeds = torch.cat((embed(torch.tensor([before])), image, embed(torch.tensor([after]))), 1)
        expected = old.eval()(inputs_embeds=embeds).logits
        made = converted(tower)
        placeholder = made.model.config.image_token_id
        ids = torch.tensor([[*before, *[placeholder] * QUERIES, *after]])
        logits = made.model(input_ids=ids, pixel_values=pixels).logits
    torch.testing.assert_close(logits[..., : expected.shape[-1]], expected, rtol=1e-3, atol=1e-4)


def test_the_converted_folder_is_a_checkpoint_like_any_other(tower: BioViLTModel, tmp_path: Path) -> None:
    made = converted(tower)
    save_checkpoint(tmp_path, made.model, made.processor, None, (), {})
    loaded = load_checkpoint(tmp_path)
    assert loaded.variant == "align"
    assert loaded.model.config.released_bugs
    assert loaded.processor.num_query_tokens == QUERIES


def test_text_branch_and_heads_are_converted_too(tower: BioViLTModel) -> None:
    state = published_stage1(tower)
    model = convert_v1_stage1(state, tower=tower, projector=published_projector(), heads=HEADS)
    assert model.temperature.item() == pytest.approx(0.05)
    assert torch.equal(model.matching_head.weight, state["itm_head.weight"])
    assert torch.equal(model.image_projection.bias, state["vision_proj.bias"])
    assert torch.equal(
        model.query_transformer.qformer.encoder.layer[1].intermediate.dense.weight,
        state["Qformer.bert.encoder.layer.1.intermediate.dense.weight"],
    )
    assert torch.equal(model.language_head.bias, state["Qformer.cls.predictions.bias"])


@pytest.mark.parametrize(
    ("lost", "added", "message"),
    [
        ("itm_head.bias", {}, "missing: itm_head.bias"),
        ("query_tokens", {}, "query_tokens is missing"),
        (None, {"Qformer.bert.pooler.dense.weight": torch.zeros(1)}, "does not have: Qformer.bert.pooler.dense.weight"),
        (None, {"itm_head.bias": torch.zeros(3)}, r"itm_head.bias is \[3\], not \[2\]"),
        (None, {"visual_encoder.encoder.encoder.bn1.running_mean": torch.ones(8)}, "not the one of the publication"),
        (None, {"Qformer.cls.predictions.decoder.weight": torch.zeros(50, 32)}, "not the table of words"),
    ],
)
def test_what_does_not_fit_is_named(
    lost: str | None, added: dict[str, Tensor], message: str, tower: BioViLTModel
) -> None:
    state = {name: value for name, value in published_stage1(tower).items() if name != lost} | added
    with pytest.raises(ModelError, match=message):
        convert_v1_stage1(state, tower=tower, projector=published_projector(), heads=HEADS)


def test_the_projector_that_the_publication_lacks_is_asked_for(tower: BioViLTModel) -> None:
    with pytest.raises(ModelError, match=r"visual_encoder.projector.model.0.weight.* drew it at random from its seed"):
        convert_v1_stage1(published_stage1(tower), tower=tower, heads=HEADS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight", None, "missing: layers.1.self_attn.v_proj"),
        ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", torch.zeros(2, 64), "not a LoRA of an attention"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", torch.zeros(2, 63), "does not fit the base"),
        ("base_model.model.model.img_proj_layer.bias", None, "missing: img_proj_layer.bias"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(
    name: str, value: Tensor | None, message: str, tower: BioViLTModel
) -> None:
    adapter = {key: tensor for key, tensor in published_adapter().items() if key != name}
    if value is not None:
        adapter[name] = value
    with pytest.raises(ModelError, match=message):
        convert_align_v1(
            published_stage1(tower),
            adapter,
            tower=tower,
            language_model=language_model(),
            tokenizer=base_tokenizer(),
            projector=published_projector(),
            heads=HEADS,
        )


def test_the_published_file_is_read_without_running_it(tower: BioViLTModel, tmp_path: Path) -> None:
    state = published_stage1(tower)
    torch.save(
        {"model": state, "epoch": 4, "config": {"run": {"seed": 42}}, "optimizer": {"state": {}}}, tmp_path / "c.pth"
    )
    assert read_v1_stage1(tmp_path / "c.pth").keys() == state.keys()
    torch.save({"model": Path("x")}, tmp_path / "bad.pth")
    with pytest.raises(ModelError, match="not readable as weights"):
        read_v1_stage1(tmp_path / "bad.pth")
    torch.save({"model": 3}, tmp_path / "none.pth")
    with pytest.raises(ModelError, match="no tensors under 'model'"):
        read_v1_stage1(tmp_path / "none.pth")
