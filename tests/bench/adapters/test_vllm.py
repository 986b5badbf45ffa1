"""The vLLM adapter against a stand-in for vLLM; benchmarks/adapter_parity.py runs the engine itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from PIL import Image

from radialog_bench.adapters.registry import load_adapter
from radialog_bench.testing import check_adapter
from radialog_instruct.errors import ModelError
from tests.bench.adapters.asking import answers, request

CONTEXT = 500


class VLLMClientError(Exception):
    """As in vllm.exceptions: no ValueError."""


class FakeLLM:
    """Answers like vllm.LLM; one prompt beyond the context ends the whole call before anything is computed."""

    last: ClassVar[FakeLLM]

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.calls: list[list[Any]] = []
        self.sampling: list[dict[str, Any]] = []
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=CONTEXT))
        FakeLLM.last = self

    def chat(self, messages: list[Any], parameters: list[dict[str, Any]], **options: Any) -> list[SimpleNamespace]:
        texts = [conversation[-1]["content"][-1]["text"] for conversation in messages]
        lengths = [len(text.split()) for text in texts]
        if any(length >= CONTEXT for length in lengths):
            raise VLLMClientError("the prompt is longer than the maximum model length")
        if "die" in texts:
            raise RuntimeError("the engine core died")
        self.calls.append(messages)
        self.sampling += parameters
        return [self.output(*row) for row in zip(texts, lengths, parameters, strict=True)]

    def output(self, text: str, length: int, parameters: dict[str, Any]) -> SimpleNamespace:
        room = CONTEXT - length
        new, reason = (room, "length") if "long" in text and room < parameters["max_tokens"] else (2, "stop")
        best = SimpleNamespace(text=text.upper(), finish_reason=reason, token_ids=[1] * new)
        return SimpleNamespace(prompt_token_ids=[0] * length, outputs=[best])


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams, module.__version__ = FakeLLM, dict, "0.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)


def opened(folder: Path, **arguments: Any) -> Any:
    (folder / "config.json").write_text("{}")
    return load_adapter(f"vllm:{folder}", arguments)


def test_images_and_sampling_reach_the_engine(tmp_path: Path) -> None:
    adapter = opened(tmp_path, system="Be brief.", engine={"enforce_eager": True}, max_model_len=400)
    got = answers(adapter, [request("a", "Look.", "A heart.", "Large?", stop=("\n",)), request("b", temperature=0.7)])
    system, first, reply, last = FakeLLM.last.calls[0][0]
    assert system == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert first["content"][0]["type"] == "image_pil"
    assert isinstance(first["content"][0]["image_pil"], Image.Image)
    assert first["content"][0]["image_pil"].mode == "RGB"
    assert [len(message["content"]) for message in (first, reply, last)] == [2, 1, 1]
    greedy, sampled = FakeLLM.last.sampling
    assert greedy == {"temperature": 0.0, "max_tokens": 8, "stop": ["\n"], "seed": None}
    assert (sampled["temperature"], sampled["seed"]) == (0.7, 0)
    assert got["a"].usage == {"prompt_tokens": 1.0, "new_tokens": 2.0}
    arguments = FakeLLM.last.arguments
    assert arguments["enable_prefix_caching"] is True
    assert arguments["enforce_eager"] is True
    assert (arguments["limit_mm_per_prompt"], arguments["max_model_len"]) == ({"image": 1}, 400)
    assert "revision" not in arguments


def test_what_the_engine_does_not_take_fails_alone(tmp_path: Path) -> None:
    adapter = opened(tmp_path)
    asked = [request(f"r{n}", f"q{n}") for n in range(6)]
    asked[2] = request("r2", "word " * CONTEXT)
    got = answers(adapter, [*asked, request("bad", image=tmp_path / "none.png")])
    failed = {name: response.error.kind for name, response in got.items() if response.error is not None}
    assert failed == {"r2": "context", "bad": "image"}
    assert [got[f"r{n}"].text for n in (0, 1, 3, 4, 5)] == ["Q0", "Q1", "Q3", "Q4", "Q5"]


def test_an_answer_that_the_context_cuts_off_is_a_failure(tmp_path: Path) -> None:
    got = answers(opened(tmp_path), [request("a", "long " * 400, tokens=300), request("b", tokens=300)])
    assert got["a"].error is not None
    assert got["a"].error.message == "the context of 500 tokens ended the answer after 100"
    assert got["b"].error is None


def test_a_dead_engine_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the engine failed: RuntimeError: the engine core died.*answers are kept"):
        answers(opened(tmp_path), [request(name, "die") for name in "abc"])


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    report = check_adapter(opened(tmp_path))
    assert report.passed, str(report)


def test_a_template_of_its_own_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    template = tmp_path.with_suffix(".jinja")
    template.write_text("{{ messages }}")
    assert opened(tmp_path).fingerprint() != opened(tmp_path, chat_template=str(template)).fingerprint()
    assert opened(tmp_path).fingerprint() == opened(tmp_path, gpu_memory_utilization=0.5).fingerprint()
