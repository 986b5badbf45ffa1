from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.model.align.tiny import inputs, tiny_stage1

PAIRS = 6


def pairs() -> dict[str, Tensor]:
    given = inputs(PAIRS)
    given["reports"] = torch.tensor([0, 1, 2, 3, 1, 5])  # one report lies in both halves
    return given


def gradients(given: dict[str, Tensor]) -> dict[str, Tensor]:
    model = tiny_stage1(freeze_tower=False).train()
    torch.manual_seed(11)
    output = model(**given)
    output.loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    losses = {name: output[name].detach() for name in ("loss", "contrastive", "matching", "language")}
    return {**found, **losses}


def half(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    cut = slice(rank * PAIRS // 2, (rank + 1) * PAIRS // 2)
    mine = {name: value[cut] for name, value in pairs().items()}
    longest = int(mine["attention_mask"].sum(1).max())  # the halves differ in length
    for name in ("input_ids", "attention_mask"):
        mine[name] = mine[name][:, :longest]
    if rank == 1:
        torch.manual_seed(999)  # its own random numbers must not matter
    averaged = gradients(mine)
    for value in averaged.values():
        dist.all_reduce(value)
        value /= 2
    if rank == 0:
        torch.save(averaged, f"{folder}/averaged.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_what_one_with_both_batches_learns() -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(half, (folder,), nprocs=2)
        together = torch.load(Path(folder) / "averaged.pt", weights_only=True)
    alone = gradients(pairs())
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
