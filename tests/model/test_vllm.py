"""The same checkpoint in transformers and in vLLM, in process and behind ``vllm serve``: greedy tokens are equal."""

from __future__ import annotations

import base64
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from radialog_instruct.assets import demo_dir, demonstration_weights_dir
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_model.assemble import from_scratch
from radialog_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from radialog_model.findings import FindingsHead
from radialog_model.generate import Answerer, Prompt, Question, Sampling, fitted_prompt, image_keys
from radialog_model.presets import preset_named
from radialog_model.processing import train_tokenizer

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
]

PATHS = sorted((demo_dir() / "images").glob("*.jpg"))[:3]
TOKENS = 24
ON_A_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
LIMITS = ("--enforce-eager", "--max-model-len", "512")
ENGINE = {"model_impl": "transformers", "dtype": "float32", "enforce_eager": True, "max_model_len": 512}


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    wanted = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
    wanted |= {} if torch.cuda.is_available() else ON_A_CPU
    with pytest.MonkeyPatch.context() as patch:
        for name, value in wanted.items():
            patch.setenv(name, os.environ.get(name, value))
        yield


def random_checkpoint(folder: Path) -> Path:
    """Write a tiny model whose answers tell any difference: large weights, BatchNorm statistics off their defaults."""
    # vLLM's attention on a CPU wants heads of 32 at least
    preset = replace(preset_named("tiny"), hidden_size=128, intermediate_size=256)
    tokenizer = train_tokenizer(["The heart is normal. The lungs are clear. Predicted Findings: edema."] * 4, 400)
    torch.manual_seed(0)
    assembled = from_scratch(preset, tokenizer)
    model = assembled.model
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                value.normal_(0.0, 0.3)
            elif value.is_floating_point() and value.ndim > 1 and "vision_tower" not in name:
                value.normal_(0.0, 0.15)
    save_checkpoint(folder, model, assembled.processor, FindingsHead(preset.tower.projection_dim), (), {})
    return folder


def questions() -> list[Question]:
    images = [load_image(path) for path in PATHS]
    report, answered = Turn("user", "Write the report."), Turn("assistant", "The heart is normal.")
    return [
        *(Question((report,), "report_generation", image, "edema") for image in images),
        Question((report, answered, Turn("user", "Is there any edema?")), "findings_qa_binary", images[0], "edema"),
        Question((Turn("user", "What view?"),), "view_classification", images[1], None),
    ]


def our_tokens(checkpoint: Checkpoint, prompts: Sequence[Prompt]) -> list[list[int]]:
    answerer, sampling = Answerer(checkpoint), Sampling(TOKENS)
    keys = [key or "" for key in image_keys([prompt.question for prompt in prompts])]
    features = answerer.features.get({k: p.question.image for k, p in zip(keys, prompts, strict=True)})
    jobs = [answerer.job(p, sampling, features[k], k) for k, p in zip(keys, prompts, strict=True)]
    rows = dict(answerer.new_decoder(4, 512).run(jobs))
    return [rows[job].new for job in jobs]


def stock_tokens(checkpoint: Checkpoint, prompt: Prompt) -> list[int]:
    pixels = checkpoint.processor.image_processor(images=prompt.question.image, return_tensors="pt")["pixel_values"]
    ids = checkpoint.model.generate(
        input_ids=torch.tensor([prompt.ids]), pixel_values=pixels, max_new_tokens=TOKENS, do_sample=False
    )
    return without_end(checkpoint, ids[0, len(prompt.ids) :].tolist())


def without_end(checkpoint: Checkpoint, tokens: Sequence[int]) -> list[int]:
    return [token for token in tokens if token != checkpoint.processor.tokenizer.eos_token_id]


def messages(checkpoint: Checkpoint, prompt: Prompt, path: Path) -> list[dict[str, Any]]:
    from radialog_model.serve.images import ImageLimits, read_image
    from radialog_model.serve.upstream import published_messages

    url = f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return published_messages(checkpoint, prompt, read_image(url, ImageLimits()))


def shown(prompt: Prompt, asked: Sequence[Question]) -> Path:
    return PATHS[[id(q.image) for q in asked[:3]].index(id(prompt.question.image))]


@dataclass(frozen=True)
class Case:
    """A checkpoint with what transformers says, computed before vLLM changes transformers' classes."""

    folder: Path
    checkpoint: Checkpoint
    prompts: list[Prompt]
    tokens: list[list[int]]
    chats: list[list[dict[str, Any]]]


def case_of(folder: Path) -> Case:
    checkpoint, asked = load_checkpoint(folder), questions()
    prompts = [fitted_prompt(checkpoint, question, TOKENS) for question in asked]
    tokens = our_tokens(checkpoint, prompts)
    assert tokens == [stock_tokens(checkpoint, prompt) for prompt in prompts]
    assert len({tuple(row) for row in tokens}) > 2
    chats = [messages(checkpoint, prompt, shown(prompt, asked)) for prompt in prompts]
    return Case(folder, checkpoint, prompts, tokens, chats)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    random = random_checkpoint(tmp_path_factory.mktemp("vllm") / "random")
    return {"random": case_of(random), "demonstration": case_of(demonstration_weights_dir())}


@pytest.fixture(scope="module")
def small() -> Checkpoint:
    from radialog_model.serve.tower import load_tower

    return load_tower()


def test_the_proxy_before_vllm_answers_as_transformers_does(cases: dict[str, Case], small: Checkpoint) -> None:
    import asyncio

    from radialog_model.serve.child import vllm_child
    from radialog_model.serve.images import ImageLimits, read_image
    from radialog_model.serve.upstream import Upstream

    asked = questions()
    expected = [answer.text for answer in Answerer(cases["demonstration"].checkpoint).answer(asked, Sampling(TOKENS))]

    async def said(upstream: Upstream) -> list[str]:
        texts = []
        for question in asked:
            prompt = fitted_prompt(small, question, TOKENS)
            data = base64.b64encode(shown(prompt, asked).read_bytes()).decode()
            image = read_image(f"data:image/jpeg;base64,{data}", ImageLimits())
            texts.append("".join([piece.text async for piece in upstream.stream(prompt, image, Sampling(TOKENS))]))
        await upstream.close()
        return texts

    with vllm_child(demonstration_weights_dir(), dtype="float32", arguments=LIMITS) as (url, alive):
        assert alive()
        assert asyncio.run(said(Upstream(small, url, alive=alive))) == expected


@pytest.mark.parametrize("name", ["random", "demonstration"])
def test_vllm_over_http_says_what_transformers_says(cases: dict[str, Case], name: str) -> None:
    import httpx2

    from radialog_model.serve.child import vllm_child

    case = cases[name]
    with vllm_child(case.folder, dtype="float32", arguments=LIMITS) as (url, _):
        for chat, tokens in zip(case.chats, case.tokens, strict=True):
            body = {"model": "r", "messages": chat, "max_tokens": TOKENS, "temperature": 0, "return_token_ids": True}
            result = httpx2.post(f"{url}/chat/completions", json=body, timeout=300).json()
            assert without_end(case.checkpoint, result["choices"][0]["token_ids"]) == tokens


@pytest.mark.parametrize("name", ["random", "demonstration"])
def test_vllm_in_process_says_what_transformers_says(cases: dict[str, Case], name: str) -> None:
    from vllm import LLM, SamplingParams

    case = cases[name]
    engine = LLM(str(case.folder), **ENGINE)
    outputs = engine.chat(case.chats, SamplingParams(temperature=0, max_tokens=TOKENS), use_tqdm=False)
    assert [list(output.prompt_token_ids) for output in outputs] == [list(prompt.ids) for prompt in case.prompts]
    assert [without_end(case.checkpoint, output.outputs[0].token_ids) for output in outputs] == case.tokens
