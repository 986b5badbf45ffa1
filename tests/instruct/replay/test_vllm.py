"""The vLLM backend against a stand-in for vLLM; the engine itself is not there in tests."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.records import ReplayAsk, Turn
from radialog_instruct.replay.backends.vllm import VllmBackend, VllmSettings
from radialog_instruct.replay.request import ModelIdentity, ReplayPolicy, ReplayRequest

POLICY = ReplayPolicy(identity=ModelIdentity(model="m", revision="r"))
CONTEXT = 100


class FakeLLM:
    """Answers like vllm.LLM; one prompt beyond the context ends the whole call, as in vLLM."""

    instances: ClassVar[list[FakeLLM]] = []

    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments
        self.calls: list[list[int]] = []
        self.parameters: list[object] = []
        self.fail_at: int | None = None
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=CONTEXT))
        FakeLLM.instances.append(self)
        if arguments["model"] == "broken":
            raise ValueError("no such weights")

    def get_tokenizer(self) -> FakeLLM:
        return self

    def apply_chat_template(self, messages, **options: object) -> list[int]:
        assert options["add_generation_prompt"] is True
        return list(range(sum(len(message["content"].split()) for message in messages)))

    def chat(self, messages, parameters, **options: object) -> list[SimpleNamespace]:
        lengths = [len(self.apply_chat_template(m, add_generation_prompt=True)) for m in messages]
        if any(n + p["max_tokens"] > CONTEXT for n, p in zip(lengths, parameters, strict=True)):
            raise ValueError("prompt too long")
        if self.fail_at is not None and len(self.calls) == self.fail_at:
            raise RuntimeError("the engine core died")
        self.calls.append(lengths)
        self.parameters += parameters
        return [
            SimpleNamespace(
                prompt_token_ids=[0] * n,
                outputs=[SimpleNamespace(text=f"answer to {m[-1]['content']}", finish_reason="stop", token_ids=[1, 2])],
            )
            for n, m in zip(lengths, messages, strict=True)
        ]


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    module.LLM, module.SamplingParams, module.__version__ = FakeLLM, dict, "9.9"  # type: ignore[attr-defined]
    sampling.StructuredOutputsParams = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    FakeLLM.instances = []


def request(words: int, **ask: object) -> ReplayRequest:
    text = " ".join(f"w{i}" for i in range(words))
    return POLICY.request(ReplayAsk((Turn("user", text),), 20, **ask), 0)  # type: ignore[arg-type]


def test_a_prompt_beyond_the_context_fails_alone() -> None:
    backend = VllmBackend(VllmSettings("m"))
    requests = [request(5), request(81), request(80)]
    results = {r.key: r for r in backend.generate(requests) if r is not None}
    assert results[requests[0].key].text is not None
    assert results[requests[2].key].text is not None
    assert "81 tokens" in (results[requests[1].key].failure or "")


def test_chunks_are_sorted_and_answered_each_by_itself() -> None:
    backend = VllmBackend(VllmSettings("m", chunk=3))
    requests = [request(n) for n in (9, 3, 6, 4, 8, 2, 7)]
    seen = list(backend.generate(iter(requests)))
    assert FakeLLM.instances[0].calls == [[3, 6, 9], [2, 4, 8], [7]]
    assert [r is None for r in seen].count(True) == 3  # after each chunk
    texts = {r.key: r.text for r in seen if r is not None}
    assert texts == {r.key: f"answer to {r.messages[-1]['content']}" for r in requests}
    assert all((r.prompt_tokens, r.completion_tokens) != (0, 0) for r in seen if r is not None)


def test_an_engine_that_dies_keeps_the_chunks_before() -> None:
    backend = VllmBackend(VllmSettings("m", chunk=2))
    FakeLLM.instances[0].fail_at = 1
    results = []
    with pytest.raises(ModelError, match="the engine core died.*run the same command again"):
        results.extend(backend.generate([request(n) for n in (2, 3, 4, 5)]))
    assert sum(result is not None for result in results) == 2


def test_the_form_of_an_answer_reaches_the_engine() -> None:
    backend = VllmBackend(VllmSettings("m"))
    list(backend.generate([request(3, regex="(Yes|No).*"), request(4, choices=("yes", "no")), request(5)]))
    structures = [parameters["structured_outputs"] for parameters in FakeLLM.instances[0].parameters]
    assert structures == [{"regex": "(Yes|No).*"}, {"choice": ["yes", "no"]}, None]
    assert FakeLLM.instances[0].parameters[0]["temperature"] == 0.0


def test_parallelism_and_further_arguments_are_passed_on() -> None:
    settings = VllmSettings("m", "abc", None, 2, 4, 4096, engine_args={"dtype": "bfloat16"})
    VllmBackend(settings)
    assert FakeLLM.instances[0].arguments == {
        "model": "m",
        "enable_prefix_caching": True,
        "revision": "abc",
        "tensor_parallel_size": 2,
        "data_parallel_size": 4,
        "max_model_len": 4096,
        "dtype": "bfloat16",
    }


def test_an_engine_that_does_not_start_and_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="does not start: ValueError: no such weights"):
        VllmBackend(VllmSettings("broken"))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UsageError, match=r'pip install "radialog\[vllm\]"'):
        VllmBackend(VllmSettings("m"))
