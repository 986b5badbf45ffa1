"""Training speed against a plain padded loop and TRL's SFTTrainer, and what each lever of speed brings alone.

python benchmarks/training.py DATASET IMAGE_ROOT BASE_MODEL TOWER RESULT.json [--steps N] [--batch N] [--peak TFLOPS]
python benchmarks/training.py DATASET IMAGE_ROOT 7b random RESULT.json --steps 20 --longest 4096

All rows train the same model on the same dialogs with LoRA of rank 16 on the same layers, a frozen tower and a trained
projector, with no worker processes. A rate counts real tokens, those that teach and their context, without padding; the
first two steps are not counted. "7b" makes a language model of 7B shape with random weights, for speed on a GPU.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from machine import describe

from radialog_instruct.sources.images import load_image
from radialog_model.config import TrainConfig
from radialog_model.data.encode import IGNORED
from radialog_model.data.rows import Row
from radialog_model.lora import add_lora
from radialog_model.prompts import asks_for_a_report_first, layout
from radialog_model.training.job import Job, prepare
from radialog_model.training.run import train

SKIP = 2
LEVERS = {
    "none": {},
    "length": {"grouping": "length"},
    "packed": {"grouping": "packed"},
    "supervised_logits": {"supervised_logits": True},
    "pixel_cache": {"pixel_cache": True},
    "feature_cache": {"feature_cache": True, "pixel_cache": True},
    "all": {"grouping": "length", "supervised_logits": True, "feature_cache": True, "pixel_cache": True},
    "all, packed": {"grouping": "packed", "supervised_logits": True, "feature_cache": True, "pixel_cache": True},
}


def configuration(given: argparse.Namespace, levers: dict[str, Any]) -> TrainConfig:
    cuda = torch.cuda.is_available()
    packed = levers.get("grouping") == "packed"
    return TrainConfig.model_validate(
        {
            "preset": "project-biovilt" if given.tower == "random" else "project-raddino",
            "image_size": given.image_size,
            "base_model": given.base_model,
            "tower_weights": given.tower,
            "tasks": given.tasks,
            "dialog": {
                "epochs": 1,
                "max_steps": given.steps,
                "batch_size": given.batch,
                "learning_rate": 1e-4,
                "warmup": 0,
                "longest": given.longest,
                "train": ["llm", "projector"],
                "lora": {"r": 16, "alpha": 32, "dropout": 0.0},
                "precision": "bf16" if cuda else "fp32",
                "peak_tflops": given.peak,
                # As many tokens a step as the padded rows have, so that steps are alike.
                "accumulation": max(round(given.batch * 215 / given.longest), 1) if packed else 1,
                "throughput": {"supervised_logits": False, **levers},
            },
        }
    )


def ours(given: argparse.Namespace, levers: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        train(configuration(given, levers), given.dataset, out, given.image_root, print)
        described = json.loads((out / "radialog.json").read_text())["training"]
    gc.collect()
    return {**described["speed"], "padding": described["padding"]}


def plain_batches(job: Job, batch: int) -> Iterator[tuple[dict[str, torch.Tensor], int]]:
    """Rows in random order, padded on the right, every image decoded and encoded anew."""
    order = torch.randperm(len(job.train), generator=torch.Generator().manual_seed(0)).tolist()
    encoder, pad = job.encoder(), job.processor.tokenizer.pad_token_id
    for start in itertools.count(0, batch):
        rows = [job.train[order[i % len(order)]] for i in range(start, start + batch)]
        encoded = [encoder.row(row, epoch=0, seed=0) for row in rows]
        longest = max(len(e.ids) for e in encoded)
        real = sum(len(e.ids) for e in encoded)
        images = [load_image(job.image_root / row.image) for row in rows]
        yield (
            {
                "input_ids": torch.tensor([e.ids + [pad] * (longest - len(e.ids)) for e in encoded]),
                "labels": torch.tensor([e.labels + [IGNORED] * (longest - len(e.ids)) for e in encoded]),
                "attention_mask": torch.tensor([[1] * len(e.ids) + [0] * (longest - len(e.ids)) for e in encoded]),
                "pixel_values": job.processor.image_processor(images=images, return_tensors="pt")["pixel_values"],
            },
            real,
        )


def peer_model(given: argparse.Namespace) -> tuple[Job, Any]:
    config = configuration(given, {})
    job = prepare(config, given.dataset, given.image_root, None)
    assert config.dialog.lora is not None
    model = add_lora(
        job.model, config.dialog.lora, train=("llm", "projector"), base_model=given.base_model, quantized=False
    )
    return job, model


def plain_loop(given: argparse.Namespace) -> dict[str, Any]:
    job, model = peer_model(given)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    tokens, seconds = 0, 0.0
    batches = plain_batches(job, given.batch)
    for step in range(given.steps):
        begin = time.perf_counter()
        batch, real = next(batches)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(**{name: value.to(device) for name, value in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        if step >= SKIP:
            tokens, seconds = tokens + real, seconds + time.perf_counter() - begin
    del model, job
    gc.collect()
    return {"tokens_per_second": round(tokens / seconds, 1)}


def trl(given: argparse.Namespace) -> dict[str, Any]:
    try:
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl import SFTConfig, SFTTrainer
    except ImportError as error:
        return {"unavailable": str(error)}
    job, model = peer_model(given)
    order = torch.randperm(len(job.train), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [job.train[i] for i in order[: given.steps * given.batch]]
    data = Dataset.from_list(
        [{"messages": _messages(row), "images": [str(job.image_root / row.image)]} for row in rows]
    )
    data = data.with_transform(
        lambda batch: {**batch, "images": [[load_image(Path(p)) for p in paths] for paths in batch["images"]]}
    )
    times: list[float] = []
    counts: list[int] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
            times.append(time.perf_counter())

    cuda = torch.cuda.is_available()
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=given.steps,
        per_device_train_batch_size=given.batch,
        learning_rate=1e-4,
        use_cpu=not cuda,
        bf16=cuda,
        gradient_checkpointing=False,
        assistant_only_loss=True,
        max_length=None,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
    )
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=data, processing_class=job.processor, callbacks=[Clock()]
    )
    collate = trainer.data_collator

    def counted(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = collate(examples)
        counts.append(int(batch["attention_mask"].sum()))
        return batch

    trainer.data_collator = counted
    trainer.train()
    return {"tokens_per_second": round(sum(counts[SKIP : given.steps]) / (times[-1] - times[SKIP - 1]), 1)}


def _messages(row: Row) -> list[dict[str, str]]:
    shown = row.findings if asks_for_a_report_first(row.task, len(row.turns) - 1) else None
    chat = layout(row.turns, shown)
    chat[1]["content"] = chat[1]["content"].replace("<image>", "", 1)  # TRL puts the placeholder in itself
    return chat


def random_llm(folder: Path, dataset: Path) -> str:
    """Write a language model of 7B shape with random weights, and a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from radialog_model.data.rows import read_rows
    from radialog_model.processing import train_tokenizer

    rows = read_rows(dataset, "train", ("report_generation",))
    tokenizer = train_tokenizer((turn.content for row in rows for turn in row.turns), 2000)
    config = LlamaConfig(vocab_size=32000, pad_token_id=0, bos_token_id=1, eos_token_id=2, max_position_embeddings=4096)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("image_root", type=Path)
    parser.add_argument("base_model")
    parser.add_argument("tower")
    parser.add_argument("result", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--peak", type=float, help="peak of one device in TFLOPS")
    parser.add_argument("--only", nargs="*", help="rows of ours to run", default=list(LEVERS))
    parser.add_argument(
        "--tasks", nargs="*", default=["report_generation", "impression", "findings_qa_complete", "findings_qa_binary"]
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.base_model == "7b":
            given.base_model = random_llm(Path(folder), given.dataset)
        rows: dict[str, Any] = {"plain padded loop": plain_loop(given), "TRL SFTTrainer": trl(given)}
        for name in given.only:
            rows[f"ours: {name}"] = ours(given, LEVERS[name])
    base = rows["plain padded loop"]["tokens_per_second"]
    for name, row in rows.items():
        rate = row.get("tokens_per_second")
        row["ratio to plain loop"] = None if rate is None else round(rate / base, 3)
        print(f"{name:28} {rate or row.get('unavailable')} tokens/s  x{row['ratio to plain loop']}", flush=True)
    settings = {k: v for k, v in vars(given).items() if k in ("steps", "batch", "longest", "image_size", "tasks")}
    result = {"machine": describe(), "settings": settings, "rows": rows}
    if torch.cuda.is_available():
        result["gpu"] = torch.cuda.get_device_name(0)
    given.result.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
