from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

import radialog_model
from radialog_instruct.assets import demo_dir
from radialog_model.align.build import build_align
from radialog_model.checkpoint import load_checkpoint, save_checkpoint
from tests.model.align.tiny import llm_tokenizer, scramble, tiny_stage1

NAME = "RaDialogAlignForConditionalGeneration"


class Registry:
    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.calls = 0

    def get_supported_archs(self) -> list[str]:
        return list(self.known)

    def register_model(self, name: str, where: str) -> None:
        self.known[name] = where
        self.calls += 1


def test_vllm_is_told_once_by_name_and_never_imported_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    radialog_model.register()
    assert "vllm" not in sys.modules
    registry = Registry()
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(ModelRegistry=registry))
    radialog_model.register()
    radialog_model.register()
    assert registry.known == {NAME: f"radialog_model.align.serving:{NAME}"}
    assert registry.calls == 1


@pytest.mark.slow
def test_vllm_writes_token_for_token_what_transformers_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "cpu" in os.environ.get("VLLM_TARGET_DEVICE", "cpu"):
        for name, value in (("KVCACHE_SPACE", "1"), ("OMP_THREADS_BIND", "nobind")):
            monkeypatch.setenv(f"VLLM_CPU_{name}", value)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    vllm = pytest.importorskip("vllm")
    tokenizer = llm_tokenizer()
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,  # heads of 32, the smallest that vLLM takes on a CPU
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    scramble(llm)
    made = build_align(tiny_stage1(num_query_tokens=32), llm=llm, tokenizer=tokenizer)
    save_checkpoint(tmp_path, made.model, made.processor, None, (), {})
    checkpoint = load_checkpoint(tmp_path)
    images = [Image.open(path).convert("RGB") for path in sorted((demo_dir() / "images").glob("*.jpg"))[:3]]
    prompts = [
        "<s>USER: Image information: <image>. Report. ASSISTANT:",
        "<s>USER: <image> View? ASSISTANT:",
        "<s><image>",
    ]
    expected = []
    for prompt, image in zip(prompts, images, strict=True):
        inputs = checkpoint.processor(text=[prompt], images=[image], return_tensors="pt", add_special_tokens=False)
        sequence = checkpoint.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0]
        expected.append(sequence[inputs["input_ids"].shape[1] :].tolist())
    engine = vllm.LLM(str(tmp_path), dtype="float32", enforce_eager=True, max_model_len=512)
    asked = [
        {"prompt": prompt, "multi_modal_data": {"image": image}} for prompt, image in zip(prompts, images, strict=True)
    ]
    answers = engine.generate(asked, vllm.SamplingParams(max_tokens=12, temperature=0))
    assert [list(result.outputs[0].token_ids) for result in answers] == expected
