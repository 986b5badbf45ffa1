"""A thin ``Trainer`` for the first stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from radialog_model.align.pairs import PairDataset
from radialog_model.align.retrieval import evaluate_pairs

Log = Callable[[str], None]


class AlignTrainer(Trainer):
    """A ``Trainer`` that logs the three losses and evaluates by retrieval."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._parts: dict[str, list[Tensor]] = {}

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the loss, and remember its parts until the next line of the log."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        for name in ("contrastive", "matching", "language"):
            self._parts.setdefault(name, []).append(outputs[name].detach())
        return (loss, outputs) if kwargs.get("return_outputs") else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the parts of the loss to a line of the log."""
        if "loss" in logs:
            logs |= {name: round(float(torch.stack(part).mean()), 4) for name, part in self._parts.items()}
            self._parts.clear()
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure retrieval and matching; every process measures all pairs."""
        del args, kwargs
        pairs: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        model: Any = self.model
        loader = DataLoader(
            pairs,
            batch_size=self.args.eval_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
        )
        metrics = {f"eval_{name}": value for name, value in evaluate_pairs(model, loader).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Progress(TrainerCallback):
    """Tells the dataset which epoch it is, and the log what was measured.

    Args:
        dataset: The training pairs.
        log: Told a line at a time.
    """

    def __init__(self, dataset: PairDataset, log: Log) -> None:
        self._dataset, self._log = dataset, log

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the dataset."""
        self._dataset.set_epoch(int(state.epoch or 0))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Tell the log."""
        names = ("loss", "contrastive", "matching", "language", "eval_recall_mean", "eval_matching_accuracy")
        found = {name: value for name, value in (logs or {}).items() if name in names}
        shown = ", ".join(f"{name.removeprefix('eval_').replace('_', ' ')} {found[name]:.3f}" for name in found)
        if shown and state.is_world_process_zero:
            self._log(f"align epoch {state.epoch:.0f}/{args.num_train_epochs:.0f}: {shown}")
