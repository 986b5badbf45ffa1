from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from radialog_bench.chat import Generation, ImageRef, Message, Request
from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, ModelError, UsageError
from radialog_instruct.findings import FINDINGS
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_instruct.terminal import run_app
from radialog_model.adapter import RaDialogProject
from radialog_model.checkpoint import load_checkpoint, validate_tokens
from radialog_model.cli import app
from radialog_model.data.encode import IGNORED, DialogEncoder
from radialog_model.findings import names_above, tune_thresholds
from radialog_model.generate import Question, answer, predict_findings, prompt_text
from radialog_model.prompts import asks_for_a_report_first, layout
from radialog_model.tower import balanced_weights, mean_auroc

IMAGES = sorted((demo_dir() / "images").glob("*.jpg"))[:3]
REPORT = Turn("user", "Write the report.")
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant acting as an experienced radiologist. The "
    "assistant gives professional, detailed, and polite answers to the user's questions."
)


@pytest.fixture(scope="module")
def checkpoint(weights: Path):
    return load_checkpoint(weights)


def questions(n: int = 3) -> list[Question]:
    texts = ("Write the report.", "Report, please, as briefly as you can.", "What do you see?")
    images = [load_image(path) for path in IMAGES]
    return [Question((Turn("user", t),), "report_generation", i, "edema") for t, i in zip(texts, images, strict=True)][
        :n
    ]


def test_the_prompt_is_the_published_layout_byte_for_byte(checkpoint) -> None:
    turns = (REPORT, Turn("assistant", "Clear lungs."), Turn("user", "Is there any edema?"))
    question = Question(turns, "findings_qa_binary", load_image(IMAGES[0]), "cardiomegaly, edema")
    assert prompt_text(checkpoint, question) == (
        f"<s>{SYSTEM} USER: <image>. Predicted Findings: cardiomegaly, edema. Write the report. ASSISTANT: Clear lungs.</s>"
        "USER: Is there any edema? ASSISTANT:"
    )
    view = Question((Turn("user", "From what view?"),), "view_classification", load_image(IMAGES[0]), "edema")
    assert prompt_text(checkpoint, view) == f"<s>{SYSTEM} USER: <image> From what view? ASSISTANT:"
    assert layout((REPORT,), None)[1]["content"] == "<image> Write the report."


def test_only_the_last_answer_is_supervised_and_the_tokens_are_those_of_generation(checkpoint) -> None:
    turns = (REPORT, Turn("assistant", "Clear lungs."), Turn("user", "View?"), Turn("assistant", "PA"))
    encoded = DialogEncoder(checkpoint.processor, 4).dialog(turns, "view_classification", "edema")
    ids, labels = encoded.ids, encoded.labels
    tokenizer = checkpoint.processor.tokenizer
    supervised = [i for i in labels if i != IGNORED]
    assert tokenizer.decode(supervised) == " PA</s>"
    assert labels[-len(supervised) :] == supervised
    question = Question(turns[:3], "view_classification", load_image(IMAGES[0]), "edema")
    inputs = checkpoint.processor(
        text=[prompt_text(checkpoint, question)], images=[question.image], return_tensors="pt", add_special_tokens=False
    )
    assert inputs["input_ids"][0].tolist() == ids[: -len(supervised)]


def test_an_empty_answer_still_teaches_the_end_and_no_token_is_an_error(checkpoint) -> None:
    dialog = (REPORT, Turn("assistant", ""))
    encoded = DialogEncoder(checkpoint.processor, 4).dialog(dialog, "report_generation", None)
    assert any(label != IGNORED for label in encoded.labels)
    unmarked = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(DataError, match="marks no answer"):
        DialogEncoder(_Templated(checkpoint.processor, unmarked), 4).dialog(dialog, "report_generation", None)
    silent = "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{% endgeneration %}{% endif %}{% endfor %}."
    with pytest.raises(DataError, match="no token of the answer is supervised"):
        DialogEncoder(_Templated(checkpoint.processor, silent), 4).dialog(dialog, "report_generation", None)


class _Templated:
    """A processor with another chat template."""

    def __init__(self, processor, template: str) -> None:
        self.tokenizer, self.chat_template = processor.tokenizer, template


def test_a_batch_answers_like_its_members_and_the_cache_changes_nothing(checkpoint) -> None:
    together = answer(checkpoint, questions(), max_new_tokens=12)
    alone = [answer(checkpoint, [question], max_new_tokens=12)[0] for question in questions()]
    assert together == alone
    inputs = checkpoint.processor(
        text=[prompt_text(checkpoint, questions(1)[0])], images=[questions(1)[0].image], return_tensors="pt"
    )
    cached = checkpoint.model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=True)
    plain = checkpoint.model.generate(**inputs, max_new_tokens=12, do_sample=False, use_cache=False)
    assert torch.equal(cached, plain)


def test_a_long_prompt_beside_it_takes_no_room_from_an_answer(checkpoint) -> None:
    room = checkpoint.model.config.text_config.max_position_embeddings
    short = questions()[0]
    used = len(checkpoint.processor.tokenizer(prompt_text(checkpoint, short))["input_ids"]) + 196
    words = "clear " * (room - used - 20)
    long = Question((REPORT, Turn("assistant", words), REPORT), "correction", short.image, "edema")
    alone = answer(checkpoint, [short], max_new_tokens=40)[0]
    assert alone.new_tokens > 20
    together = answer(checkpoint, [long, short], max_new_tokens=40)
    assert together[1].text == alone.text
    assert together[0].new_tokens <= 20


def test_requests_of_one_batch_keep_their_own_limits(weights: Path) -> None:
    adapter = RaDialogProject(str(weights), findings="off")
    asked = [
        Request(
            str(n), "report_generation", "report", (Message("user", REPORT.content),), (ImageRef("i", IMAGES[0]),), g
        )
        for n, g in enumerate((Generation(3), Generation(30), Generation(3)))
    ]
    used = {response.id: response.usage["new_tokens"] for response in adapter.generate(asked)}
    assert used["0"] == used["2"] == 3
    assert used["1"] > 3


def test_a_fresh_process_loads_the_same_model_with_stock_classes(weights: Path, checkpoint) -> None:
    code = (
        "import sys, torch, radialog_model; radialog_model.register(); radialog_model.register()\n"
        "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
        f"m = AutoModelForImageTextToText.from_pretrained({str(weights)!r}, dtype=torch.float32).eval()\n"
        f"p = AutoProcessor.from_pretrained({str(weights)!r})\n"
        "i = p(text=['<image> View?'], images=[torch.full((3, 80, 90), 99).byte().numpy()], return_tensors='pt')\n"
        "print(type(m).__name__, type(p).__name__, m(**i).logits[0, -1, :5].tolist())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    image = torch.full((3, 80, 90), 99).byte().numpy()
    inputs = checkpoint.processor(text=["<image> View?"], images=[image], return_tensors="pt")
    logits = checkpoint.model(**inputs).logits[0, -1, :5].tolist()
    assert result.stdout.strip() == f"LlavaForConditionalGeneration LlavaProcessor {logits}"


def test_an_interrupted_training_ends_like_an_undisturbed_one(dataset: Path, weights: Path, tmp_path: Path) -> None:
    import radialog_model.training.run as training
    from radialog_model.config import load_config

    class StopError(Exception):
        pass

    def stop_after_the_tower(*args: object) -> None:
        raise StopError

    out, lines = tmp_path / "w", []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(training, "run_dialog_stage", stop_after_the_tower)
        training.train(load_config("tiny"), dataset, out, None, lines.append)
    assert not (out / "config.json").exists()
    training.train(load_config("tiny"), dataset, out, None, lines.append)
    assert "tower: already trained, resuming behind it" in lines
    assert (out / "config.json").is_file()
    assert not (out / "work").exists()


def test_thresholds_maximise_f1_and_classes_go_by_name() -> None:
    probabilities, targets = torch.zeros(4, 14), torch.zeros(4, 14)
    edema = FINDINGS.index("Edema")
    probabilities[:, edema], targets[:, edema] = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.0, 0, 1, 1])
    thresholds = tune_thresholds(probabilities, targets)
    assert 0.2 < float(thresholds[edema]) <= 0.3
    assert float(thresholds[0]) == 0.5
    assert names_above(probabilities[3], thresholds) == ["Edema"]
    assert names_above(probabilities[0], thresholds) == ["No Finding"]


def test_auroc_and_view_balance_on_worked_numbers() -> None:
    logits, targets = torch.zeros(4, 14), torch.zeros(4, 14)
    logits[:, 0], targets[:, 0] = torch.tensor([3.0, 2, 1, 0]), torch.tensor([1.0, 0, 1, 0])
    assert mean_auroc(logits, targets) == pytest.approx(0.75)
    weights = balanced_weights(torch.tensor([0, 1, 1, 1]))
    assert float(weights[0]) == pytest.approx(float(weights[1:].sum()))


def request(name: str, image: Path, task: str = "report_generation") -> Request:
    return Request(name, task, "report", (Message("user", "Write the report."),), (ImageRef(image.stem, image),))


def test_the_adapter_answers_fails_broken_images_alone_and_logs_what_it_renders(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(IMAGES[0].read_bytes()[:900])
    adapter = RaDialogProject(weights=str(weights))
    wanted = [request("a", IMAGES[0]), request("b", tmp_path / "broken.jpg"), request("c", IMAGES[1])]
    responses = {r.id: r for r in adapter.generate(wanted)}
    assert responses["b"].error is not None
    assert responses["b"].error.kind == "image"
    assert responses["a"].text is not None
    assert responses["c"].usage["new_tokens"] >= 1
    assert [m.role for m in adapter.render(wanted[0])] == ["system", "user"]
    assert "Predicted Findings: (predicted)" in adapter.render(wanted[0])[1].content
    assert "Findings" not in RaDialogProject(weights=str(weights), findings="off").render(wanted[0])[1].content
    again = {r.id: r.text for r in adapter.generate(wanted[:1])}
    assert again["a"] == responses["a"].text
    assert adapter.notices
    with pytest.raises(UsageError, match="choose off, reference or predicted"):
        RaDialogProject(weights=str(weights), findings="guess")


def test_findings_come_from_the_head_for_each_image(checkpoint) -> None:
    texts = predict_findings(checkpoint, [load_image(path) for path in IMAGES])
    assert len(texts) == 3
    assert all(texts)


def run(*arguments: str) -> int:
    return run_app(app, "radialog-model", arguments)


def test_generate_prints_a_report(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("generate", "--weights", str(weights), "--max-new-tokens", "5", "--image", str(IMAGES[0]))
    assert run(*arguments, "--findings", "edema") == 0
    assert "Trained for seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("generate", "--image", "{tmp}/none.jpg"), 3, "no such image"),
        (("generate", "--image", "{tmp}/text.jpg"), 3, "not an image"),
        (("generate", "--image", "{tmp}/cut.jpg"), 3, "the image is damaged"),
        (("generate", "--image", "{image}", "--weights", "{tmp}"), 4, "no config.json here"),
        (("generate", "--image", "{image}", "--weights", "nobody/nothing"), 4, "neither a folder nor a repository"),
        (
            ("train", "--data", "{tmp}", "--output", "{tmp}/o", "--config", "huge"),
            2,
            "give a YAML file or one of: demo, tiny",
        ),
        (("train", "--data", "{tmp}", "--output", "{tmp}/o", "--config", "{tmp}/bad.yaml"), 2, "speed"),
        (("train", "--data", "{tmp}", "--output", "{tmp}/o", "--config", "tiny"), 3, "no built dataset here"),
        (
            ("train", "--data", "{data}", "--output", "{tmp}/o", "--config", "tiny", "--image-root", "{tmp}"),
            3,
            "images are missing",
        ),
        (("train", "--data", "{data}", "--output", "{tmp}/text.jpg/o", "--config", "tiny"), 2, "cannot write"),
        (("train",), 2, "--data"),
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
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "cut.jpg").write_bytes(IMAGES[0].read_bytes()[:900])
    (tmp_path / "bad.yaml").write_text("preset: tiny\nspeed: 3\ntower: {epochs: 1}\ndialog: {epochs: 1}\n")
    given = [argument.format(tmp=tmp_path, image=IMAGES[0], data=dataset) for argument in arguments]
    assert run(*given) == code
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("radialog-model: ")
    assert message in error[-1]


def test_weights_that_do_not_fit_are_named(weights: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    copy = tmp_path / "w"
    shutil.copytree(weights, copy)
    state = load_file(copy / "model.safetensors")
    lost = next(name for name in state if "projection" in name)
    save_file({k: v for k, v in state.items() if k != lost}, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing keys: .*projection"):
        load_checkpoint(copy)


def test_a_processor_that_disagrees_with_the_tower_is_refused(weights: Path) -> None:
    loaded = load_checkpoint(weights)
    loaded.processor.image_processor.crop_size = {"height": 96, "width": 96}
    with pytest.raises(ModelError, match="the processor writes 9 image tokens, the configuration says 4"):
        validate_tokens(loaded.model, loaded.processor)


def test_sixteen_bit_images_are_stretched_to_their_range(tmp_path: Path) -> None:
    Image.fromarray(torch.arange(0, 4096, 16, dtype=torch.int32).view(16, 16).to(torch.uint16).numpy()).save(
        tmp_path / "i.png"
    )
    low, high = load_image(tmp_path / "i.png").convert("L").getextrema()
    assert (low, high) == (0, 255)


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; from radialog_model.cli import app; from radialog_instruct.terminal import run_app;"
        "run_app(app, 'x', ['train', '--help']); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_the_demonstration_weights_are_small_and_say_what_they_are() -> None:
    from radialog_instruct.assets import demonstration_weights_dir

    folder = demonstration_weights_dir()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    notices = json.loads((folder / "radialog.json").read_text())["notices"]
    assert any("demonstration weights" in notice for notice in notices)
    shipped = load_checkpoint()
    assert len(shipped.processor.tokenizer) <= 1_500
    assert shipped.model.config.vision_config.image_size == 224
    assert shipped.findings is not None


def test_each_variant_has_its_layout_and_the_ablations_leave_out_what_they_take_away() -> None:
    def first(findings: str | None, **options) -> str:
        return layout((REPORT,), findings, **options)[1]["content"]

    assert first("edema", variant="align") == "Image information: <image>. Predicted Findings: edema. Write the report."
    assert first(None, variant="align") == "Image information: <image>. Write the report."
    assert first("edema", image=False) == "Predicted Findings: edema. Write the report."
    assert first(None, image=False, variant="align") == "Write the report."


def test_a_history_of_questions_carries_no_findings_text() -> None:
    assert asks_for_a_report_first("impression", 3)
    assert not asks_for_a_report_first("rad_restruct_qa", 3)
    assert not asks_for_a_report_first("view_classification", 1)
