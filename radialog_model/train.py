"""Training of the ``project`` variant from scratch: the tower on labels, then the language model on dialogs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import DataError, UsageError
from radialog_model.checkpoint import save_checkpoint
from radialog_model.config import TrainConfig
from radialog_model.data import Collator, DialogDataset, ImageStore, Row, read_rows
from radialog_model.findings import FindingsHead
from radialog_model.presets import Preset, build_project, preset_named, project_config
from radialog_model.processing import build_processor, train_tokenizer
from radialog_model.prompts import IMAGE_TOKEN, layout
from radialog_model.tower import tower_data, train_tower

WORK = "work"
"""Folder under the output that holds what an interrupted run resumes from."""
STAGE_1 = "tower.pt"
Log = Callable[[str], None]


@dataclass
class _Run:
    """What both stages share."""

    config: TrainConfig
    preset: Preset
    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    images: ImageStore
    train: list[Row]
    validation: list[Row]


def train(config: TrainConfig, dataset: Path, output: Path, image_root: Path | None, log: Log) -> None:
    """Train a model and write its checkpoint; an interrupted run goes on where it was.

    Args:
        config: The configuration.
        dataset: Folder of a built dataset.
        output: Folder of the checkpoint.
        image_root: Folder that the rows' image paths are relative to; the embedded demo's by default.
        log: Told about progress, a line at a time.

    Raises:
        DataError: If dataset or images cannot be used.
        UsageError: If the configuration or the output folder cannot be used.
    """
    set_seed(config.seed)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    run = _prepare(config, dataset, image_root or demo_dir())
    _check_output(output)
    head = _tower_stage(run, output / WORK, log)
    history = _dialog_stage(run, output / WORK, log)
    training = {
        "config": config.model_dump(mode="json"),
        "rows": dict(sorted(Counter(row.task for row in run.train).items())),
        "images": len({row.image for row in run.train}),
        "loss": history,
    }
    save_checkpoint(output, run.model, run.processor, head, config.notices, training)
    shutil.rmtree(output / WORK)
    log(f"checkpoint: {output}")


def _prepare(config: TrainConfig, dataset: Path, image_root: Path) -> _Run:
    train_rows = read_rows(dataset, "train", config.tasks)
    validation_rows = read_rows(dataset, "validation", config.tasks)
    preset = preset_named(config.preset)
    missing = sorted({row.image for row in (*train_rows, *validation_rows) if not (image_root / row.image).is_file()})
    if missing:
        mend = "give their folder with --image-root, or build with --images require"
        raise DataError(f"{len(missing)} images are missing", where=str(image_root / missing[0]), mend=mend)
    texts = [message["content"] for row in train_rows for message in layout(row.turns, row.findings or None)]
    tokenizer = train_tokenizer(texts, config.vocab_size)
    llava = project_config(
        preset,
        vocab_size=len(tokenizer),
        image_token_id=tokenizer.encode(IMAGE_TOKEN, add_special_tokens=False)[0],
        pad=tokenizer.pad_token_id,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
    )
    processor = build_processor(tokenizer, preset.tower)
    model = build_project(llava)
    return _Run(config, preset, model, processor, ImageStore(processor, image_root), train_rows, validation_rows)


def _check_output(output: Path) -> None:
    try:
        (output / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write: {error.strerror}", where=str(output), mend="choose another folder") from error


def _tower_stage(run: _Run, work: Path, log: Log) -> FindingsHead:
    tower, stage = run.model.model.vision_tower, run.config.tower
    head = FindingsHead(tower.config.projection_dim)
    saved = work / STAGE_1
    if saved.is_file():
        log("tower: already trained, resuming behind it")
        state = torch.load(saved, weights_only=True)
        tower.load_state_dict(state["tower"])
        head.load_state_dict(state["head"])
        tower.config.freeze_batchnorm = True
        return head.eval()
    head = train_tower(
        tower,
        run.images,
        tower_data(run.train),
        tower_data(run.validation),
        epochs=stage.epochs,
        batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        seed=run.config.seed,
        log=log,
    )
    temporary = saved.with_suffix(".tmp")
    torch.save({"tower": tower.state_dict(), "head": head.state_dict()}, temporary)
    temporary.replace(saved)
    return head


def _dialog_stage(run: _Run, work: Path, log: Log) -> dict[str, float]:
    stage, model = run.config.dialog, run.model
    model.model.vision_tower.requires_grad_(False)
    n_image_tokens = run.preset.tower.num_patches
    shared = (run.processor, run.images, n_image_tokens, run.preset.context, run.config.seed)
    rows = [row for row in run.train for _ in range(stage.repeat.get(row.task, 1))]
    train_set = DialogDataset(rows, *shared)
    arguments = TrainingArguments(
        output_dir=str(work / "dialog"),
        per_device_train_batch_size=stage.batch_size,
        per_device_eval_batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        num_train_epochs=stage.epochs,
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup_steps,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        seed=run.config.seed,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train_set,
        eval_dataset=DialogDataset(run.validation, *shared),
        data_collator=Collator(run.processor.tokenizer.pad_token_id),
        callbacks=[_Epochs(train_set, log)],
    )
    trainer.remove_callback(_printer())
    last = get_last_checkpoint(str(work / "dialog")) if (work / "dialog").is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return {"validation": round(losses[-1], 4), "best_validation": round(min(losses), 4)}


def _printer() -> type[TrainerCallback]:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


class _Epochs(TrainerCallback):
    """Tells the dataset which epoch it is, and the log what the losses are."""

    def __init__(self, dataset: DialogDataset, log: Log) -> None:
        self._dataset, self._log = dataset, log

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._dataset.epoch = int(state.epoch or 0)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        shown = {k: v for k, v in (logs or {}).items() if k in ("loss", "eval_loss")}
        if shown:
            losses = ", ".join(f"{name.replace('eval_', 'validation ')} {value:.3f}" for name, value in shown.items())
            self._log(f"dialog epoch {state.epoch:.0f}/{args.num_train_epochs:.0f}: {losses}")
