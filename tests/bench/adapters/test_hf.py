from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.make_tiny_llava import assemble
from radialog_bench.adapters.registry import load_adapter
from radialog_bench.testing import check_adapter
from radialog_instruct.errors import ModelError, UsageError
from tests.bench.adapters.asking import IMAGES, answers, request

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
CONTEXT = 512


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost such a model more than they bring; other modules' sums must round as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a LLaVA with a random tower and a random language model of a few thousand weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from radialog_model.processing import train_tokenizer

    tokenizer = train_tokenizer(["The heart is enlarged. The lungs are clear. Describe this X-ray."], 300)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.5,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    language = LlamaForCausalLM(config)
    # Settings of its own that must not change a greedy answer.
    language.generation_config.update(repetition_penalty=5.0, do_sample=True, temperature=3.0)
    out = tmp_path_factory.mktemp("tiny-llava")
    assemble(language, tokenizer, out)
    return out


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Any:
    return load_adapter(f"hf:{folder}", {"dtype": "float32", "device": "cpu"})


def test_a_batch_answers_as_each_request_alone(adapter: Any) -> None:
    asked = [request(f"r{n}", "Describe. " * (n + 1), image=IMAGES[n], tokens=3 + 4 * n) for n in range(4)]
    asked += [request("turns", "Describe.", "The lungs are clear.", "Why?"), request("blind", "The heart?", image=None)]
    together = answers(adapter, asked)
    alone = {name: response for r in asked for name, response in answers(adapter, [r]).items()}
    assert {n: r.text for n, r in together.items()} == {n: r.text for n, r in alone.items()}
    assert [together[f"r{n}"].usage["new_tokens"] for n in range(4)] == [3, 7, 11, 15]
    assert len({together[f"r{n}"].text for n in range(4)}) == 4
    assert all(response.error is None for response in together.values())


def test_the_picture_has_a_say(adapter: Any) -> None:
    texts = {answers(adapter, [request("a", image=image)])["a"].text for image in IMAGES[:6]}
    assert len(texts) > 1


def test_what_cannot_be_read_or_does_not_fit_fails_alone(adapter: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    asked = [request("good"), request("bad", image=tmp_path / "bad.png"), request("long", "word " * CONTEXT)]
    got = answers(adapter, asked)
    assert got["good"].text == answers(adapter, asked[:1])["good"].text
    assert got["bad"].error is not None
    assert got["bad"].error.kind == "image"
    assert got["long"].error is not None
    assert got["long"].error.kind == "context"
    assert f"the model's context {CONTEXT}" in got["long"].error.message


def test_an_answer_that_the_context_cuts_off_is_a_failure(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_ends", set())
    monkeypatch.setattr(adapter._model.generation_config, "eos_token_id", None)
    (response,) = answers(adapter, [request("a", "The heart. " * 40, tokens=CONTEXT)]).values()
    assert response.error is not None
    assert response.error.kind == "context"
    assert "ended the answer after" in response.error.message


def test_a_stop_string_ends_the_answer_in_front_of_it(adapter: Any) -> None:
    whole = answers(adapter, [request("a", tokens=20)])["a"].text
    assert whole is not None
    stop = whole[6:8]
    assert answers(adapter, [request("a", tokens=20, stop=(stop,))])["a"].text == whole[: whole.index(stop)]


def test_sampling_is_repeatable(adapter: Any) -> None:
    asked = [request("a", tokens=12, temperature=1.5)]
    first = answers(adapter, asked)["a"].text
    assert first == answers(adapter, asked)["a"].text
    assert first != answers(adapter, [request("a", tokens=12)])["a"].text


def test_out_of_memory_halves_the_batch(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = adapter._model.generate, []

    def generate(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("too much")
        return real(**inputs)

    asked = [request(f"r{n}", image=IMAGES[n]) for n in range(5)]
    expected = answers(adapter, asked)
    monkeypatch.setattr(adapter._model, "generate", generate)
    monkeypatch.setattr(adapter, "_most", 0)
    assert {n: r.text for n, r in answers(adapter, asked).items()} == {n: r.text for n, r in expected.items()}
    assert sizes[0] == 5
    assert max(sizes[1:]) <= 3
    before = len(sizes)
    answers(adapter, asked)
    assert max(sizes[before:]) <= 2, "the smaller batch is remembered"


def test_a_request_that_breaks_the_model_fails_alone(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = adapter._processor.apply_chat_template

    def template(conversations: Any, **options: Any) -> Any:
        if any("break" in conversation[0]["content"][-1]["text"] for conversation in conversations):
            raise ValueError("no such word")
        return real(conversations, **options)

    monkeypatch.setattr(adapter._processor, "apply_chat_template", template)
    got = answers(adapter, [request("a"), request("b", "break it"), request("c")])
    assert got["b"].error is not None
    assert got["b"].error.message == "ValueError: no such word"
    assert got["a"].text == got["c"].text


def test_it_keeps_the_contract(adapter: Any) -> None:
    report = check_adapter(adapter)
    assert report.passed, str(report)
    assert not [check for check in report.checks if check.status == "noted" and "batch" in check.name], str(report)


def test_the_fingerprint_covers_every_byte_of_the_weights(folder: Path, adapter: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    arguments = {"dtype": "float32", "device": "cpu"}
    same = load_adapter(f"hf:{copy}", arguments)
    assert same.fingerprint() == adapter.fingerprint()
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert load_adapter(f"hf:{copy}", arguments).fingerprint() != adapter.fingerprint()


def test_a_model_without_a_chat_template_says_how_to_give_one(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    template = copy / "chat_template.jinja"
    text = template.read_text()
    template.unlink()
    with pytest.raises(ModelError, match="no chat template.*chat_template=FILE"):
        load_adapter(f"hf:{copy}", {"device": "cpu"})
    (tmp_path / "t.jinja").write_text(text)
    given = load_adapter(f"hf:{copy}", {"device": "cpu", "chat_template": str(tmp_path / "t.jinja")})
    assert answers(given, [request("a")])["a"].error is None


@pytest.mark.parametrize(("spec", "message"), [("hf:./none", "no such folder"), ("hf:", "nothing behind hf:")])
def test_a_model_that_is_not_there(spec: str, message: str) -> None:
    with pytest.raises((ModelError, UsageError), match=message):
        load_adapter(spec)
