"""The second stage of the variant align: projection and adapters on top of a frozen first stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from radialog_instruct.errors import UsageError
from radialog_model.align.settings import load_align_settings
from radialog_model.align.train import train_stage1
from radialog_model.checkpoint import load_checkpoint
from radialog_model.config import TrainConfig, load_config
from radialog_model.training.run import train


def test_only_projection_and_adapters_learn_and_one_folder_holds_the_model(
    base_llm: Path, dataset: Path, tmp_path: Path
) -> None:
    stage1 = tmp_path / "stage1"
    train_stage1(load_align_settings("tiny-align"), dataset, stage1, None, lambda line: None)
    config = TrainConfig.model_validate(
        {
            "preset": "align-tiny",
            "base_model": str(base_llm),
            "stage1": str(stage1),
            "dialog": {
                "epochs": 1,
                "longest": 500,
                "learning_rate": 1e-2,
                "lora": {"r": 4, "target": ["q_proj", "v_proj"]},
                "throughput": {"grouping": "packed", "feature_cache": True},
            },
        }
    )
    train(config, dataset, tmp_path / "out", None, lambda line: None)
    checkpoint = load_checkpoint(tmp_path / "out")
    assert checkpoint.variant == "align"
    first, state = load_file(stage1 / "model.safetensors"), load_file(tmp_path / "out" / "adapter_model.safetensors")
    query = "query_transformer.queries.weight"
    kept = next(value for name, value in state.items() if name.endswith(query))
    assert torch.equal(kept, next(value for name, value in first.items() if name.endswith("queries.weight")))
    assert any("q_proj.lora_B" in name for name in state)
    assert not any("k_proj" in name and "lora" in name for name in state)


def test_a_stage_without_its_first_is_refused() -> None:
    with pytest.raises(UsageError, match="stage1"):
        load_config("align-ins")
    with pytest.raises(UsageError, match="stage1"):
        load_config("tiny", ["stage1=x"])
