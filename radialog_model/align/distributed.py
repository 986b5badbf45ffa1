"""What the losses need of other processes; alone, each function returns what it is given."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """Return the number of this process and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rank, size = world()
        parts = [torch.empty_like(tensor) for _ in range(size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Every process's loss depends on what this one sent: its gradient is the sum over all of them.
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        mine: Tensor = total.chunk(world()[1])[ctx.rank]
        return mine


def gather(tensor: Tensor) -> Tensor:
    """Concatenate the tensors of all processes, in their order; gradients flow back to each.

    Args:
        tensor: [batch, ...], of the same shape everywhere.

    Returns:
        [processes * batch, ...].
    """
    if world()[1] == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


def gather_padded(tensor: Tensor, fill: int) -> Tensor:
    """Concatenate [batch, length] tensors whose length differs between processes, padded to the longest."""
    if world()[1] == 1:
        return tensor
    longest = torch.tensor(tensor.shape[1], device=tensor.device)
    dist.all_reduce(longest, dist.ReduceOp.MAX)
    missing = int(longest) - tensor.shape[1]
    return gather(torch.nn.functional.pad(tensor, (0, missing), value=fill))


def mean_over_all(total: Tensor, count: Tensor) -> Tensor:
    """Return a loss whose average over processes is the mean over all they have.

    Data-parallel training averages gradients over processes as if each had counted as much; with unequal counts a plain
    mean here would weigh their items unequally.

    Args:
        total: Sum of this process's items, a scalar.
        count: Number of them, a scalar.
    """
    size = world()[1]
    everywhere = count.detach().clone().to(total.dtype)
    if size > 1:
        dist.all_reduce(everywhere)
    return total * size / everywhere.clamp(min=1)


def shared_seed(device: torch.device) -> int:
    """Draw a seed from the first process's random numbers and tell it to all."""
    seed = torch.randint(2**62, (1,)).to(device)
    if world()[1] > 1:
        dist.broadcast(seed, 0)
    return int(seed)
