"""The stage that teaches dialogs: plan the micro-batches, set up the trainer, run or resume it."""

from __future__ import annotations

import math
import os
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers import EarlyStoppingCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.sources.images import load_image
from radialog_model.config import DialogStage
from radialog_model.data.batches import MicroBatches, only
from radialog_model.data.encode import DialogEncoder
from radialog_model.data.plan import Plan, make_plan
from radialog_model.data.rows import Rows
from radialog_model.lora import add_lora, unwrapped
from radialog_model.resuming import last_complete
from radialog_model.training.callbacks import EpochEnds, Log, Progress, SpeedMeter, flops_per_token
from radialog_model.training.features import FeatureStore, features_instead_of_pixels
from radialog_model.training.generation import ReportMetric, choose_reports
from radialog_model.training.job import Job
from radialog_model.training.lengths import RowLengths
from radialog_model.training.trainer import RaDialogTrainer

NEVER = 10**9
"""A number of steps no run has: what happens between steps is asked for by callbacks."""


@dataclass(frozen=True)
class Trained:
    """What a dialog stage leaves.

    Attributes:
        model: The model, wrapped in its adapters where it has some.
        history: Losses, metrics, speed and rows left out, as the checkpoint's description keeps them.
        state: All weights gathered from where they were sharded; None where the model holds them itself.
        main: Whether this process writes the checkpoint.
    """

    model: Any
    history: dict[str, Any]
    state: dict[str, torch.Tensor] | None
    main: bool


def run_dialog_stage(job: Job, work: Path, log: Log) -> Trained:
    """Train on dialogs; an interrupted run goes on behind its last saved step.

    Args:
        job: The run.
        work: Folder for what it resumes from.
        log: Told about progress.

    Raises:
        DataError: If no row fits.
        UsageError: If the configuration does not fit the machine.
    """
    stage = job.config.dialog
    encoder = job.encoder()
    with job.first_process():
        train_plan = _plan(job, job.train, encoder, work, stage, epochs=stage.epochs)
        validation_plan = _plan(job, job.validation, encoder, work, stage, epochs=1)
    left_out = _report_left_out(job.train, train_plan, log)
    model = _prepare_model(job)
    if stage.throughput.compile:
        for layer in unwrapped(model).model.language_model.layers:
            layer.compile(dynamic=True)
    with ExitStack() as stack:
        pixels = _pixels(job, work, stack, log)
        trainer, meter = _trainer(job, model, encoder, train_plan, validation_plan, pixels, work, log)
        trainer.train(resume_from_checkpoint=last_complete(work / "dialog"))
        state = _gathered(trainer)
    if state is not None:  # a tower whose features were read stood outside what was sharded
        state |= {name: value for name, value in model.state_dict().items() if "vision_tower" in name}
    history = _history(trainer)
    history |= {"speed": meter.described(), "padding": round(1 - train_plan.fill, 4), "left_out": left_out}
    return Trained(trainer.model, history, state, trainer.is_world_process_zero())


def _plan(job: Job, rows: Rows, encoder: DialogEncoder, work: Path, stage: DialogStage, *, epochs: int) -> Plan:
    lengths = RowLengths(
        rows,
        encoder,
        work / "lengths",
        seed=job.config.seed,
        workers=stage.throughput.workers,
        dataset=job.fingerprint,
    )
    repeats = [stage.repeat.get(task, 1) for task in rows.tasks()] if rows is job.train else [1] * len(rows)
    plan = make_plan(
        lengths,
        epochs=epochs,
        repeats=repeats,
        grouping=stage.throughput.grouping,
        batch_size=stage.batch_size,
        longest=stage.longest or job.preset.context,
        seed=job.config.seed,
    )
    if not plan.batches:
        mend = "raise dialog.longest, or take a smaller image_size"
        raise DataError("every row is longer than the longest sequence", where=str(job.dataset), mend=mend)
    return plan


def _report_left_out(rows: Rows, plan: Plan, log: Log) -> dict[str, int]:
    if not plan.left_out:
        return {}
    tasks = Counter(rows[i].task for i in plan.left_out)
    first = rows[plan.left_out[0]].id
    log(f"left out: {len(plan.left_out)} rows are longer than dialog.longest in some epoch, first {first}")
    return dict(sorted(tasks.items()))


def _prepare_model(job: Job) -> Any:
    stage, model = job.config.dialog, job.model
    tower: Any = model.model.vision_tower
    if "tower" not in stage.train and hasattr(tower.config, "freeze_batchnorm"):
        tower.config.freeze_batchnorm = True  # else its statistics would drift though no weight learns
    if stage.lora is not None:
        assert job.config.base_model is not None
        return add_lora(
            model,
            stage.lora,
            train=stage.train,
            base_model=job.config.base_model,
            quantized=stage.quantization != "none",
        )
    parts: dict[str, Any] = {
        "tower": tower,
        "projector": model.model.multi_modal_projector,
        "llm": model.model.language_model,
    }
    for part, module in parts.items():
        module.requires_grad_(part in stage.train)
    text: Any = model.config.text_config
    if not text.tie_word_embeddings:
        model.lm_head.requires_grad_("llm" in stage.train)
    model.train()  # frozen BatchNorm and query transformers take their parameters out of training here
    return model


def _pixels(job: Job, work: Path, stack: ExitStack, log: Log) -> Any:
    if not job.config.inputs.image:
        return None
    if not job.config.dialog.throughput.feature_cache:
        return job.images.batch
    half = job.config.dialog.precision != "fp32"
    store = FeatureStore(job.model, job.images, work / "features", "float16" if half else "float32")
    with job.first_process():
        store.fill([*job.train.images(), *job.validation.images()], log)
    stack.enter_context(features_instead_of_pixels(job.model))
    return store.batch


def _trainer(
    job: Job,
    model: Any,
    encoder: DialogEncoder,
    train: Plan,
    validation: Plan,
    pixels: Any,
    work: Path,
    log: Log,
) -> tuple[RaDialogTrainer, SpeedMeter]:
    stage, config = job.config.dialog, job.config
    shared = {
        "pad": job.processor.tokenizer.pad_token_id,
        "packed": stage.throughput.grouping == "packed",
        "seed": config.seed,
    }
    arguments = _arguments(job, work, len(train))
    metric = _metric(job)
    trainer = RaDialogTrainer(
        model=model,
        args=arguments,
        train_dataset=MicroBatches(job.train, train, encoder, pixels, **shared),
        eval_dataset=MicroBatches(job.validation, validation, encoder, pixels, **shared),
        data_collator=only,
        learning_rates={
            part: rate
            for part, rate in (("projector", stage.projector_learning_rate), ("tower", stage.tower_learning_rate))
            if rate is not None
        },
        supervised_logits=stage.throughput.supervised_logits,
        extra_metrics=None if metric is None else lambda: metric(model),
    )
    _check_distribution(trainer)
    per_step = stage.accumulation * trainer.args.world_size
    ends = [math.ceil(end / per_step) for end in train.epoch_ends]
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(EpochEnds(ends, stage.save_steps))
    trainer.add_callback(Progress(log, ends))
    if stage.early_stopping is not None:
        trainer.add_callback(EarlyStoppingCallback(stage.early_stopping.patience))
    meter = SpeedMeter(trainer, flops_per_token(model), stage.peak_tflops)
    trainer.add_callback(meter)
    return trainer, meter


def _arguments(job: Job, work: Path, micro_batches: int) -> TrainingArguments:
    stage = job.config.dialog
    for tool in stage.report_to:
        if find_spec(tool) is None:
            raise UsageError(f"{tool} is not installed", where="dialog.report_to", mend=f"pip install {tool}")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    steps = math.ceil(micro_batches / (stage.accumulation * world))
    if stage.max_steps is not None:
        steps = min(steps, stage.max_steps)
    stopping: dict[str, Any] = {}
    if stage.early_stopping is not None:
        stopping = {
            "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{stage.early_stopping.metric}",
            "greater_is_better": stage.early_stopping.metric != "loss",
            "restore_callback_states_from_checkpoint": True,  # how often it has not improved
        }
    return TrainingArguments(
        output_dir=str(work / "dialog"),
        per_device_train_batch_size=1,  # a micro-batch of the plan, complete as it is
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=stage.accumulation,
        learning_rate=stage.learning_rate,
        max_steps=steps,
        lr_scheduler_type=stage.schedule,
        warmup_steps=stage.warmup,
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        bf16=stage.precision == "bf16",
        fp16=stage.precision == "fp16",
        gradient_checkpointing=stage.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if stage.gradient_checkpointing else None,
        train_sampling_strategy="sequential",  # the plan is shuffled already
        eval_strategy="steps",
        eval_steps=NEVER,
        save_strategy="steps",
        save_steps=NEVER,
        save_total_limit=1,
        logging_steps=max(steps // 50, 10),
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_num_workers=stage.throughput.workers,
        dataloader_persistent_workers=stage.throughput.workers > 0,
        report_to=list(stage.report_to) or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        seed=job.config.seed,
        **stopping,
    )


def _metric(job: Job) -> ReportMetric | None:
    stopping, inputs = job.config.dialog.early_stopping, job.config.inputs
    if stopping is None or stopping.metric != "ce_macro_f1":
        return None
    chosen = choose_reports(job.validation, stopping.images, job.config.seed)
    if not chosen:
        mend = "add the task report_generation, or stop by the metric loss"
        raise UsageError("no validation row of report_generation", where="dialog.early_stopping", mend=mend)
    texts: dict[str, str] | None = None
    if inputs.findings == "predicted":
        texts = {row.image: row.findings or "" for row in chosen}
    elif inputs.findings == "reference" and job.extractor is not None:
        images = [load_image(job.image_root / row.image) for row in chosen]
        texts = dict(zip((row.image for row in chosen), job.extractor.texts(images), strict=True))
    return ReportMetric(chosen, job.processor, job.image_root, findings=texts, image=inputs.image)


def _check_distribution(trainer: RaDialogTrainer) -> None:
    """Refuse to run unsharded what was launched as sharded: on a CPU accelerate ignores it without a word."""
    found = trainer.accelerator.distributed_type
    stopping = trainer.args.metric_for_best_model or ""
    if found in (DistributedType.FSDP, DistributedType.DEEPSPEED) and "ce_macro_f1" in stopping:
        raise UsageError(
            "a sharded model writes no reports", where="dialog.early_stopping", mend="stop by the metric loss"
        )
    for variable, wanted in (
        ("ACCELERATE_USE_FSDP", DistributedType.FSDP),
        ("ACCELERATE_USE_DEEPSPEED", DistributedType.DEEPSPEED),
    ):
        if os.environ.get(variable, "").lower() == "true" and found != wanted:
            mend = "sharding needs GPUs; launch with the configuration ddp.yaml instead"
            raise UsageError(f"launched for {wanted.value}, running as {found.value}", mend=mend)


def _gathered(trainer: RaDialogTrainer) -> dict[str, torch.Tensor] | None:
    if trainer.accelerator.distributed_type not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return None
    state: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state


def _history(trainer: RaDialogTrainer) -> dict[str, Any]:
    log = trainer.state.log_history
    losses = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    history: dict[str, Any] = {"steps": trainer.state.global_step}
    if losses:
        history |= {"last_validation_loss": round(losses[-1], 4), "best_validation_loss": round(min(losses), 4)}
    scores = [entry["eval_ce_macro_f1"] for entry in log if "eval_ce_macro_f1" in entry]
    if scores:
        history |= {"best_ce_macro_f1": round(max(scores), 4)}
    return history
