from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.model.training.conftest import lora_config

SAME = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2}


def launch(
    processes: int, config: Path, dataset: Path, out: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=localhost:0", "-m", "radialog_model.cli", "train", "--config", str(config)]
    command += ["--data", str(dataset), "--output", str(out)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=280)


def written(base_llm: Path, folder: Path, accumulation: int) -> Path:
    config = lora_config(base_llm, accumulation=accumulation, **SAME).model_dump(mode="json")
    path = folder / f"{accumulation}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
def test_two_processes_learn_like_one(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    two = launch(2, written(base_llm, tmp_path, 1), dataset, tmp_path / "two")
    assert two.returncode == 0, two.stderr[-3000:]
    one = launch(1, written(base_llm, tmp_path, 2), dataset, tmp_path / "one")
    assert one.returncode == 0, one.stderr[-3000:]
    states = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("two", "one")]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_a_run_that_was_launched_sharded_does_not_run_unsharded(base_llm: Path, dataset: Path, tmp_path: Path) -> None:
    config = written(base_llm, tmp_path, 1)
    result = launch(1, config, dataset, tmp_path / "out", ACCELERATE_USE_FSDP="true", FSDP_VERSION="2")
    assert result.returncode != 0
    assert "launched for FSDP" in result.stderr
