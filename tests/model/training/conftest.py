"""A tiny language model with grouped-query attention, as a stranger would bring one: no image token, its own tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from radialog_model.config import TrainConfig
from radialog_model.data.rows import read_rows
from radialog_model.processing import train_tokenizer
from radialog_model.training.job import Job, prepare


@pytest.fixture(scope="session")
def base_llm(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm")
    rows = read_rows(dataset, "train", ("report_generation",))
    tokenizer = train_tokenizer((turn.content for row in rows for turn in row.turns), 400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.15,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def lora_config(base_llm: Path, *, inputs: dict[str, object] | None = None, **dialog) -> TrainConfig:
    stage = {"epochs": 1, "batch_size": 4, "longest": 700, "warmup": 0, "lora": {"r": 4, "alpha": 8, "dropout": 0.0}}
    stage |= dialog
    values = {"preset": "tiny", "base_model": str(base_llm), "dialog": stage, "inputs": inputs or {}}
    return TrainConfig.model_validate(values)


@pytest.fixture
def job(dataset: Path, base_llm: Path) -> Job:
    from radialog_instruct.assets import demo_dir

    torch.manual_seed(1)
    return prepare(lora_config(base_llm), dataset, demo_dir(), None)
