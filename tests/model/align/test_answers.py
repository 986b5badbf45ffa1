"""The finished model: built, saved, loaded, trained further, asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoProcessor

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import ModelError
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_model.align.build import BuiltAlign, build_align
from radialog_model.align.configuration import RaDialogAlignConfig
from radialog_model.align.modeling import RaDialogAlignModel
from radialog_model.align.presets import align_preset_named
from radialog_model.align.processing import RaDialogAlignProcessor
from radialog_model.checkpoint import load_checkpoint, save_checkpoint, validate_tokens, weights_fingerprint
from radialog_model.generate import Question, answer, prompt_text
from tests.model.align.tiny import llm_tokenizer, scramble, tiny_stage1

IMAGES = sorted((demo_dir() / "images").glob("*.jpg"))[:3]


def built(**changes: object) -> BuiltAlign:
    stage1 = tiny_stage1(num_query_tokens=32, **changes)
    made = build_align(stage1, tokenizer=llm_tokenizer())
    scramble(made.model.model.language_model)
    scramble(made.model.model.multi_modal_projector.language_projection)
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("align") / "weights"
    made = built()
    save_checkpoint(folder, made.model, made.processor, None, ("For tests.",), {})
    return folder


@pytest.fixture(scope="module")
def checkpoint(weights: Path):
    return load_checkpoint(weights)


def questions() -> list[Question]:
    texts = ("Write the report.", "Report, please, as briefly as you can.", "What do you see?")
    return [
        Question((Turn("user", text),), "report_generation", load_image(path), "edema")
        for text, path in zip(texts, IMAGES, strict=True)
    ]


def test_it_loads_like_any_checkpoint_and_says_its_variant(checkpoint) -> None:
    assert checkpoint.variant == "align"
    assert type(checkpoint.model).__name__ == "RaDialogAlignForConditionalGeneration"
    assert isinstance(checkpoint.processor, RaDialogAlignProcessor)
    assert checkpoint.notices == ("For tests.",)
    validate_tokens(checkpoint.model, checkpoint.processor)


def test_the_prompt_is_the_first_releases_byte_for_byte_with_32_image_tokens(checkpoint) -> None:
    instruction = default_prompts().render(CONSTANTS, "report")
    question = Question((Turn("user", instruction),), "report_generation", load_image(IMAGES[0]), "cardiomegaly, edema")
    inputs = checkpoint.processor(
        text=[prompt_text(checkpoint, question)], images=[question.image], return_tensors="pt", add_special_tokens=False
    )
    assert checkpoint.processor.tokenizer.decode(inputs["input_ids"][0]) == (
        "<s>A chat between a curious user and an artificial intelligence assistant acting as an experienced radiologist. "
        "The assistant gives professional, detailed, and polite answers to the user's questions. "
        f"USER: Image information: {'<image>' * 32}. Predicted Findings: cardiomegaly, edema. You are to act as a "
        "radiologist and write the finding section of a chest x-ray radiology report for this X-ray image and the given "
        "predicted findings. Write in the style of a radiologist, write one fluent text without enumeration, be concise "
        "and don't provide explanations or reasons. ASSISTANT:"
    )
    features = checkpoint.model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
    assert [list(tokens.shape) for tokens in features] == [[32, 64]]
    assert all(tokens.is_contiguous() for tokens in features)


def test_a_batch_answers_like_its_members_and_the_cache_changes_nothing(checkpoint) -> None:
    together = answer(checkpoint, questions(), max_new_tokens=12)
    assert together == [answer(checkpoint, [question], max_new_tokens=12)[0] for question in questions()]
    assert len({result.text for result in together}) == 3
    inputs = checkpoint.processor(
        text=[prompt_text(checkpoint, questions()[0])], images=[questions()[0].image], return_tensors="pt"
    )
    cached = checkpoint.model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=True)
    plain = checkpoint.model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=False)
    assert torch.equal(cached, plain)


def test_the_image_changes_what_comes_next(checkpoint) -> None:
    images = [load_image(path) for path in IMAGES]
    inputs = checkpoint.processor(text=["<image> Report:"] * 3, images=images, return_tensors="pt")
    logits = checkpoint.model(**inputs).logits[:, -1]
    assert min((logits[a] - logits[b]).abs().max() for a, b in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_saved_and_loaded_again_it_is_the_same_file(weights: Path, checkpoint, tmp_path: Path) -> None:
    statistics = [m.running_var for m in checkpoint.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((value - 1).abs().max() > 0.05 for value in statistics)
    again = load_checkpoint(weights)
    save_checkpoint(tmp_path, again.model, again.processor, None, again.notices, {})
    assert weights_fingerprint(tmp_path) == weights_fingerprint(weights)
    assert (tmp_path / "processor_config.json").read_text() == (weights / "processor_config.json").read_text()


def test_a_fresh_process_loads_it_with_the_auto_classes(weights: Path, checkpoint) -> None:
    code = (
        "import torch, radialog_model; radialog_model.register(); radialog_model.register()\n"
        "from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor\n"
        f"m = AutoModelForImageTextToText.from_pretrained({str(weights)!r}, dtype=torch.float32).eval()\n"
        f"p = AutoProcessor.from_pretrained({str(weights)!r})\n"
        f"b = AutoModel.from_pretrained({str(weights)!r})\n"
        "i = p(text=['<image> View?'], images=[torch.full((3, 80, 90), 99).byte().numpy()], return_tensors='pt')\n"
        "print(type(m).__name__, type(b).__name__, type(p).__name__, m(**i).logits[0, -1, :5].tolist())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    image = torch.full((3, 80, 90), 99).byte().numpy()
    inputs = checkpoint.processor(text=["<image> View?"], images=[image], return_tensors="pt")
    logits = checkpoint.model(**inputs).logits[0, -1, :5].tolist()
    names = "RaDialogAlignForConditionalGeneration RaDialogAlignModel RaDialogAlignProcessor"
    assert result.stdout.strip() == f"{names} {logits}"


def test_only_the_projection_and_the_language_model_learn_and_dropout_stays_off() -> None:
    made = built(layers={"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5})
    model = made.model.train()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if "language_model" not in name} == {
        f"model.multi_modal_projector.language_projection.{kind}" for kind in ("weight", "bias")
    }
    projector = model.model.multi_modal_projector
    patches = torch.randn(2, 4, 32)
    assert torch.equal(projector(patches), projector(patches))


def test_the_queries_come_out_as_in_the_first_stage() -> None:
    stage1 = tiny_stage1(num_query_tokens=32)
    pixels = torch.rand(2, 3, 64, 64)
    expected = stage1.query_transformer(stage1.patches(pixels))
    model = build_align(stage1, tokenizer=llm_tokenizer()).model.eval()
    seen = model.model.multi_modal_projector.query_transformer(model.model.vision_tower(pixels).last_hidden_state)
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("kept", ["language_projection", "queries"])
def test_lora_and_what_is_trained_beside_it_are_one_adapter_file(kept: str, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    inputs = {
        "input_ids": torch.tensor([[1, *[3] * 32, 40, 41, 42]]),
        "pixel_values": torch.rand(1, 3, 64, 64),
        "labels": torch.tensor([[*[-100] * 33, 40, 41, 42]]),
    }
    assert llm_tokenizer().convert_tokens_to_ids("<image>") == 3
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], modules_to_save=[kept])
    model = get_peft_model(built().model, config).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        model(**inputs).loss.backward()
        optimizer.step()
    model.save_pretrained(tmp_path)
    logits = model.eval()(**inputs).logits
    plain = built().model.eval()
    assert (plain(**inputs).logits - logits).abs().max() > 1e-4
    again = PeftModel.from_pretrained(built().model, tmp_path).eval()
    torch.testing.assert_close(again(**inputs).logits, logits)
    merged = again.merge_and_unload()
    torch.testing.assert_close(merged(**inputs).logits, logits, rtol=1e-4, atol=1e-5)


def test_released_bugs_survive_saving_and_change_the_answer(tmp_path: Path) -> None:
    made = built(released_bugs=True, layers={"encoder_hidden_size": 48})
    save_checkpoint(tmp_path, made.model, made.processor, None, (), {})
    again = load_checkpoint(tmp_path)
    assert again.model.config.released_bugs
    assert answer(again, questions(), max_new_tokens=6)
    patches = torch.randn(1, 4, 32)
    reader = again.model.model.multi_modal_projector.query_transformer
    assert not torch.allclose(reader(patches), reader(patches.flip(1)), atol=1e-3)
    correct = built().model.model.multi_modal_projector.query_transformer.eval()
    # Attention to patches has no order; the defect's "patches" are slices of channels, so theirs matters.
    torch.testing.assert_close(correct(patches), correct(patches.flip(1)))


def test_the_papers_sizes_give_32_tokens_of_the_language_models_width() -> None:
    from transformers import LlamaConfig

    tower = align_preset_named("align-biovilt").tower
    config = RaDialogAlignConfig(vision_config=tower, text_config=LlamaConfig(num_hidden_layers=1))
    with torch.device("meta"):
        model = RaDialogAlignModel(config)
        tokens = model.get_image_features(torch.zeros(2, 3, 448, 448), return_dict=True).pooler_output
    assert [tuple(image.shape) for image in tokens] == [(32, 4096), (32, 4096)]
    transformer = sum(p.numel() for p in model.multi_modal_projector.query_transformer.parameters())
    assert 90_000_000 < transformer < 110_000_000


def test_the_processor_counts_for_servers_as_it_writes(weights: Path) -> None:
    processor = AutoProcessor.from_pretrained(weights)
    counted = processor._get_num_multimodal_tokens(image_sizes=[[64, 64], [900, 30]])
    assert counted["num_image_tokens"] == [32, 32]
    assert counted["num_image_patches"] == [1, 1]


def test_a_language_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the base model.s tokenizer cannot be loaded"):
        build_align(tiny_stage1(), llm=str(tmp_path))
    with pytest.raises(ModelError, match="no tokenizer for the language model"):
        build_align(tiny_stage1())
