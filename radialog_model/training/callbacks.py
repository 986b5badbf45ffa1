"""What happens between steps: saving and evaluating at the end of an epoch, telling the user, measuring speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from radialog_model.training.trainer import RaDialogTrainer

Log = Callable[[str], None]
DENSE_BF16_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "A40": 149.7, "L40S": 362.0, "RTX 4090": 165.2}
"""Peak of dense bf16 matrix products by part of a GPU's name, from its maker's data sheet."""


class EpochEnds(TrainerCallback):
    """Evaluates and saves at the steps where an epoch of the plan ends.

    Args:
        steps: The last step of each epoch.
        save_steps: Save this often beside them; None does not.
    """

    def __init__(self, steps: Sequence[int], save_steps: int | None) -> None:
        self._steps, self._save_steps = frozenset(steps), save_steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what the step calls for."""
        if state.global_step in self._steps:
            control.should_log = control.should_evaluate = control.should_save = True
            return
        control.should_evaluate = False  # a run that max_steps ends within an epoch is only being tried out
        if self._save_steps is not None and state.global_step % self._save_steps == 0:
            control.should_save = True


class Progress(TrainerCallback):
    """Tells the log the losses at the end of each epoch.

    Args:
        log: Told a line at a time.
        epoch_ends: The last step of each epoch.
    """

    def __init__(self, log: Log, epoch_ends: Sequence[int]) -> None:
        self._log, self._ends = log, list(epoch_ends)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Pass on training loss and validation metrics."""
        shown = {n: v for n, v in (logs or {}).items() if n == "loss" or n in ("eval_loss", "eval_ce_macro_f1")}
        if not shown or not state.is_world_process_zero:
            return
        epoch = sum(end < state.global_step for end in self._ends) + 1
        parts = ", ".join(f"{name.replace('eval_', 'validation ')} {value:.3f}" for name, value in shown.items())
        self._log(f"dialog epoch {min(epoch, len(self._ends))}/{len(self._ends)}, step {state.global_step}: {parts}")


@dataclass(frozen=True)
class Speed:
    """Speed of a training run, the first steps left out.

    Attributes:
        tokens_per_second: Real tokens, padding left out, over all devices.
        supervised_tokens_per_second: Those that teach.
        rows_share: Real tokens over computed ones.
        data_wait: Share of the time spent waiting for micro-batches.
        step_seconds_p50: Median of a step.
        step_seconds_p95: Its 95th percentile.
        peak_memory_gib: Most memory of one GPU; None on the CPU.
        mfu: Model FLOPs utilization, see ``flops_per_token``; None where the peak is not known.
    """

    tokens_per_second: float
    supervised_tokens_per_second: float
    rows_share: float
    data_wait: float
    step_seconds_p50: float
    step_seconds_p95: float
    peak_memory_gib: float | None
    mfu: float | None


class SpeedMeter(TrainerCallback):
    """Measures the steps of a run.

    Args:
        trainer: The trainer, which knows a step's tokens and its wait.
        flops_per_token: FLOPs a trained token takes, see ``flops_per_token``.
        peak_tflops: Peak of one device; None asks the table of known GPUs.
        skip: Steps at the start that are not counted: they compile and fill caches.
    """

    def __init__(
        self, trainer: RaDialogTrainer, flops_per_token: float, peak_tflops: float | None, skip: int = 2
    ) -> None:
        self._trainer, self._flops, self._peak, self._skip = trainer, flops_per_token, peak_tflops, skip
        self._last: float | None = None
        self._steps: list[tuple[float, float, tuple[int, int, int]]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._last = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note a step; what follows it, evaluating and saving, is not part of any."""
        now = time.perf_counter()
        if self._last is not None:
            self._steps.append((now - self._last, self._trainer.data_wait, self._trainer.step_tokens))
        self._last = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock of a step; the wait for its data came before."""
        self._last = time.perf_counter() - self._trainer.data_wait

    def speed(self) -> Speed | None:
        """Return the speed, or None where too few steps were run."""
        steps = self._steps[self._skip :]
        if not steps:
            return None
        seconds = [duration for duration, _, _ in steps]
        total = sum(seconds)
        real, supervised, computed = (sum(tokens[i] for _, _, tokens in steps) for i in range(3))
        devices = self._trainer.accelerator.num_processes
        peak = self._peak or known_peak()
        return Speed(
            tokens_per_second=real * devices / total,
            supervised_tokens_per_second=supervised * devices / total,
            rows_share=real / computed,
            data_wait=sum(wait for _, wait, _ in steps) / total,
            step_seconds_p50=median(seconds),
            step_seconds_p95=quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0],
            peak_memory_gib=torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None,
            mfu=None if peak is None else real / total * self._flops / (peak * 1e12),
        )

    def described(self) -> dict[str, float | None]:
        """Return the speed as numbers to be stored, empty where too few steps were run."""
        speed = self.speed()
        return {} if speed is None else {k: None if v is None else round(v, 4) for k, v in asdict(speed).items()}


def known_peak() -> float | None:
    """Return the peak TFLOPS of the first GPU, where it is known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name(0)
    return next((peak for part, peak in DENSE_BF16_TFLOPS.items() if part in name), None)


def flops_per_token(model: torch.nn.Module) -> float:
    """Return the FLOPs one trained token takes in the language model.

    2 N for the forward pass and 2 N for the gradient of the activations, with N the weights of its matrix products
    without embeddings, and 2 more for each weight that itself learns (Kaplan et al., 2020). Recomputation for gradient
    checkpointing, attention scores and the image tower are not counted, so the true load is higher.

    Args:
        model: A LLaVA, with adapters or without.
    """
    matrices = [
        (parameter.numel(), parameter.requires_grad)
        for name, parameter in model.named_parameters()
        if "language_model" in name and "embed_tokens" not in name and parameter.dim() == 2
    ]
    return float(sum(4 * n + 2 * n * learns for n, learns in matrices))
