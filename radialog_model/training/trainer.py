"""A thin ``transformers.Trainer``: the loss where tokens are supervised, a learning rate for each part, its timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from radialog_model.data.encode import IGNORED

PARTS = {"multi_modal_projector": "projector", "vision_tower": "tower"}
"""Module name -> part with a learning rate of its own; everything else is the language model."""


def part_of(parameter: str) -> str:
    """Return ``projector``, ``tower`` or ``llm`` for a parameter's name."""
    return next((part for module, part in PARTS.items() if module in parameter), "llm")


def supervised_loss(
    model: nn.Module, inputs: Mapping[str, Tensor], n_targets: Tensor | int | None, *, supervised_logits: bool
) -> tuple[Tensor, Any]:
    """Return the cross entropy over the supervised tokens, and the model's output.

    Args:
        model: A LLaVA, wrapped or not.
        inputs: A micro-batch with its labels.
        n_targets: Supervised tokens of the whole optimizer step, over all devices; those of the micro-batch by default.
        supervised_logits: Compute logits only at positions where some row has a target.

    Returns:
        The sum of the losses over ``n_targets``, and the output.
    """
    tensors = dict(inputs)
    labels = tensors.pop("labels")
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)  # what stands at a position is predicted by the one before
    kept: Tensor | None = None
    if supervised_logits:
        kept = (targets != IGNORED).any(0).nonzero().squeeze(1)
        targets = targets[:, kept]
    # Without a cache: packed rows are kept apart by their positions only then.
    outputs = model(**tensors, use_cache=False, **({} if kept is None else {"logits_to_keep": kept}))
    total = F.cross_entropy(
        outputs.logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    count = (targets != IGNORED).sum() if n_targets is None else n_targets
    return total / count, outputs


class RaDialogTrainer(Trainer):
    """Trains a LLaVA on micro-batches that are complete before they come.

    Args:
        *args: As for ``Trainer``.
        learning_rates: Part -> learning rate; the arguments' own for a part that is not named.
        supervised_logits: Compute logits only where a token is supervised.
        extra_metrics: Called after the validation loss; its metrics join it under the prefix ``eval_``.
        **kwargs: As for ``Trainer``.
    """

    def __init__(
        self,
        *args: Any,
        learning_rates: Mapping[str, float],
        supervised_logits: bool,
        extra_metrics: Callable[[], Mapping[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._learning_rates, self._supervised_logits = learning_rates, supervised_logits
        self._extra_metrics = extra_metrics
        self.model_accepts_loss_kwargs = True  # the loss below divides by the targets of the whole step
        self.data_wait = 0.0
        """Seconds the last step waited for its micro-batches."""
        self.step_tokens: tuple[int, int, int] = (0, 0, 0)
        """Real, supervised and computed tokens of the last step on this device."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        """Return the loss of a micro-batch as its share of the whole step's."""
        loss, outputs = supervised_loss(model, inputs, num_items_in_batch, supervised_logits=self._supervised_logits)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP averages gradients; the step wants their sum
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Fetch the micro-batches of a step and note how long that took."""
        begin = time.perf_counter()
        samples, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.data_wait = time.perf_counter() - begin
        # The first position of each sequence counts too: padding alone is not real.
        computed = sum(s["input_ids"].numel() for s in samples)
        real = sum(int(s["attention_mask"].sum()) if "attention_mask" in s else s["input_ids"].numel() for s in samples)
        self.step_tokens = (real, sum(int((s["labels"] != IGNORED).sum()) for s in samples), computed)
        return samples, count

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make a parameter group for each part, with and without weight decay."""
        if self.optimizer is None:
            chosen: Any = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(chosen))
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, chosen)
            self.optimizer = kind(self._groups(chosen, decayed), **options)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def _groups(self, model: nn.Module, decayed: set[str]) -> list[dict[str, Any]]:
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((part_of(name), name in decayed), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self._learning_rates.get(part, self.args.learning_rate),
                "weight_decay": self.args.weight_decay if decay else 0.0,
            }
            for (part, decay), parameters in sorted(groups.items(), key=lambda item: item[0])
        ]

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Measure the validation loss, then the metrics of generated text."""
        output = super().evaluation_loop(*args, **kwargs)
        if self._extra_metrics is not None and output.metrics is not None:
            output.metrics.update({f"eval_{name}": value for name, value in self._extra_metrics().items()})
        return output
