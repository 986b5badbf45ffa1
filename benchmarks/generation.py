"""Reports a second: transformers.generate one by one, our running batch, and vLLM offline, on the same weights.

python benchmarks/generation.py [RESULT.json] [--shape demo --shape smollm] [--language FOLDER] [--reports N]
python benchmarks/generation.py --shape project-biovilt --device cuda

``demo`` are the demonstration weights; ``smollm`` a BioViL-T tower with random weights before a real language model of
135 million parameters (--language, a folder). Both are compared in fp32 and every text must be equal. vLLM has a row
where it is importable (on a CPU: VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=cores).

Any other shape is a preset with random weights (``project-biovilt`` has the paper's 7B sizes), measured with the step
compiled for fixed shapes: one stream as a share of what the memory's measured bandwidth allows, and 64 streams.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import describe

from radialog_instruct.assets import demo_dir, demonstration_weights_dir
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_model import register
from radialog_model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from radialog_model.generate import Answerer, Question, Sampling, fitted_prompt, prompt_text

RESULTS = Path(__file__).parent / "results" / "generation.json"
FINDINGS = "cardiomegaly, edema, pleural effusion"
STREAMS = 64


def questions(n: int) -> list[Question]:
    """Return report requests about n images; the demonstration collection's, turned where there are too few."""
    paths = sorted((demo_dir() / "images").glob("*.jpg"))
    report = Turn("user", default_prompts().render(CONSTANTS, "report"))
    images = [load_image(paths[k % len(paths)]).rotate(k // len(paths)) for k in range(n)]
    return [Question((report,), "report_generation", image, FINDINGS) for image in images]


def smollm(language: Path, out: Path) -> Path:
    """Write a LLaVA of a real language model and a random tower of the paper's shape."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlavaConfig, LlavaForConditionalGeneration

    from radialog_model.biovil import BioViLTConfig
    from radialog_model.processing import build_processor
    from radialog_model.prompts import IMAGE_TOKEN

    register()
    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(language)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    text: Any = AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tower = BioViLTConfig()
    config = LlavaConfig(
        vision_config=tower,
        text_config=text.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=tower.num_patches,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    model: Any = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    with torch.no_grad():  # random features are far larger than word embeddings
        model.model.multi_modal_projector.linear_2.weight.mul_(float(text.get_input_embeddings().weight.std()))
    save_checkpoint(out, model, build_processor(tokenizer, tower, image_size=tower.image_size), None, (), {})
    return out


def stock(checkpoint: Checkpoint, asked: list[Question], tokens: int) -> list[str]:
    """Answer one by one as transformers' documentation does."""
    processor, texts = checkpoint.processor, []
    model: Any = checkpoint.model
    for question in asked:
        prompt = prompt_text(checkpoint, question)
        inputs = processor(text=[prompt], images=[question.image], return_tensors="pt", add_special_tokens=False)
        ids = model.generate(
            **inputs.to(model.device),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=processor.tokenizer.eos_token_id,
            pad_token_id=processor.tokenizer.pad_token_id,
        )
        texts.append(processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return [text.strip() for text in texts]


def vllm(folder: Path, checkpoint: Checkpoint, asked: list[Question], tokens: int) -> Iterator[list[str]]:
    """Warm vLLM up with other images, for it remembers those it has seen; then answer all at once."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        str(folder),
        model_impl="transformers",
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=64,
        enable_prefix_caching=False,
    )
    others = [replace(question, image=question.image.rotate(90)) for question in asked[:4] if question.image]
    for batch, limit in ((others, 8), (asked, tokens)):
        prompts = [
            {"prompt": prompt_text(checkpoint, question), "multi_modal_data": {"image": question.image}}
            for question in batch
        ]
        outputs = engine.generate(prompts, SamplingParams(temperature=0, max_tokens=limit), use_tqdm=False)
        yield [output.outputs[0].text.strip() for output in outputs]


def timed(run: Callable[[], list[str]]) -> tuple[list[str], float]:
    start = time.perf_counter()
    texts = run()
    return texts, time.perf_counter() - start


def compared(folder: Path, reports: int, tokens: int, batch: int) -> dict[str, Any]:
    """Return the rows of one model."""
    checkpoint, asked = load_checkpoint(folder), questions(reports)
    sampling = Sampling(tokens)

    def ours() -> list[str]:
        # a fresh one each time: features of images seen before would be no measurement
        return [a.text for a in Answerer(checkpoint, batch_size=batch).answer(asked, sampling)]

    runs: dict[str, tuple[list[str], float]] = {}
    stock(checkpoint, asked[:1], 4)
    Answerer(checkpoint).answer(asked[:2], Sampling(4))
    runs["transformers.generate, batch 1"] = timed(lambda: stock(checkpoint, asked, tokens))
    runs["radialog, running batch"] = timed(ours)
    if importlib.util.find_spec("vllm") is not None:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        passes = vllm(folder, checkpoint, asked, tokens)
        next(passes)
        runs["vLLM offline, transformers backend"] = timed(lambda: next(passes))
    first, base = runs["transformers.generate, batch 1"]
    words = sum(len(text.split()) for text in first)
    rows = {
        name: {
            "seconds": round(seconds, 2),
            "reports_per_second": round(len(asked) / seconds, 2),
            "times_batch_1": round(base / seconds, 2),
            "equal_texts": sum(a == b for a, b in zip(first, texts, strict=True)),
        }
        for name, (texts, seconds) in runs.items()
    }
    counts = {"reports": len(asked), "most_new_tokens": tokens, "words": words, "distinct": len(set(first))}
    return counts | {"slots": batch, "threads": torch.get_num_threads(), "rows": rows}


def random_preset(name: str, device: str) -> Checkpoint:
    """Return a preset with random weights, in bfloat16 on a GPU."""
    from radialog_model.presets import build_project, preset_named, project_config, scratch_llm
    from radialog_model.processing import build_processor

    preset, tokenizer = preset_named(name), load_checkpoint().processor.tokenizer
    llm = scratch_llm(
        preset,
        vocab_size=32_000,
        pad=tokenizer.pad_token_id,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = project_config(llm, preset.tower, image_size=preset.image_size, image_token_id=image_token_id)
    torch.set_default_dtype(torch.float32 if device == "cpu" else torch.bfloat16)
    with torch.device(device):
        model = build_project(config).eval()
    torch.set_default_dtype(torch.float32)
    return Checkpoint(model, build_processor(tokenizer, preset.tower, image_size=preset.image_size), None, (), "")


def bandwidth(device: str) -> float:
    """Return bytes a second that a copy within the device's memory moves, read and written."""
    source = torch.ones(2**28 if device == "cpu" else 2**31, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        settle(device)
        start = time.perf_counter()
        target.copy_(source)
        settle(device)
        best = min(best, time.perf_counter() - start)
    return 2 * source.numel() / best


def settle(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def throughput(preset: str, device: str, tokens: int) -> dict[str, Any]:
    """Return tokens a second of one stream and of many, with compiled steps."""
    checkpoint = random_preset(preset, device)
    model: Any = checkpoint.model
    weights = sum(p.nbytes for p in {*model.model.language_model.parameters(), *model.lm_head.parameters()})
    # The table of embeddings is looked up, not read through.
    weights -= (
        0 if model.lm_head.weight is model.get_input_embeddings().weight else model.get_input_embeddings().weight.nbytes
    )
    moved = bandwidth(device)
    result: dict[str, Any] = {"copy_bytes_per_second": round(moved), "bytes_of_weights": weights}
    for streams in (1, STREAMS):
        rate, prefill = decoded(checkpoint, streams, tokens, device)
        result[f"streams_{streams}"] = {
            "decoded_tokens_per_second": round(rate, 1),
            "prefill_seconds": round(prefill, 3),
        }
    limit = moved / weights
    result["limit_of_one_stream"] = round(limit, 1)
    result["share_of_limit"] = round(result["streams_1"]["decoded_tokens_per_second"] / limit, 3)
    return result


def decoded(checkpoint: Checkpoint, streams: int, tokens: int, device: str) -> tuple[float, float]:
    """Return tokens a second while all streams decode, and the seconds of their prefill."""
    answerer = Answerer(checkpoint, compile=True)
    prompts = [fitted_prompt(checkpoint, question, tokens) for question in questions(streams)]
    features = answerer.features.get({str(k): p.question.image for k, p in enumerate(prompts) if p.question.image})
    sampling = Sampling(tokens)
    decoder = answerer.new_decoder(streams, max(len(p.ids) for p in prompts) + tokens)
    best, prefill = 0.0, float("inf")
    for _ in range(3):  # the first pass compiles
        jobs = [answerer.job(p, sampling, features[str(k)], str(k)) for k, p in enumerate(prompts)]
        settle(device)
        start = time.perf_counter()
        decoder.admit(jobs)
        settle(device)
        prefill = min(prefill, time.perf_counter() - start)
        made, start = 0, time.perf_counter()
        while len(decoder.running) == streams:
            decoder.step()
            made += streams
        settle(device)
        best = max(best, made / (time.perf_counter() - start))
        decoder.cancel()
    return best, prefill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, nargs="?", default=RESULTS)
    parser.add_argument("--shape", action="append", help="demo, smollm or a preset; demo and smollm by default")
    parser.add_argument("--language", type=Path, help="folder of the language model of smollm")
    parser.add_argument("--reports", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = json.loads(given.result.read_text()) if given.result.is_file() else {}
    for shape in given.shape or (["demo", "smollm"] if given.language else ["demo"]):
        if shape == "demo":
            measured = compared(demonstration_weights_dir(), given.reports, given.tokens, given.batch)
        elif shape == "smollm":
            with tempfile.TemporaryDirectory() as scratch:
                folder = smollm(given.language, Path(scratch) / "smollm")
                measured = compared(folder, given.reports, given.tokens, given.batch)
        else:
            measured = throughput(shape, given.device, given.tokens)
            if given.device.startswith("cuda"):
                measured["gpu"] = torch.cuda.get_device_name()
        found[shape] = {"machine": describe(), "versions": versions()} | measured
        print(json.dumps({shape: found[shape]}, indent=2))
        given.result.write_text(json.dumps(found, indent=2) + "\n")


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    known = {}
    for package in ("torch", "transformers", "vllm"):
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known


if __name__ == "__main__":
    main()
