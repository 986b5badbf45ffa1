"""Training of the first stage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import (
    CLIPImageProcessorPil,
    PreTrainedTokenizerBase,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.assets import demo_dir
from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.errors import DataError
from radialog_model.align.bert import bert_shape, initialise_from_bert
from radialog_model.align.configuration import RELEASED_WIDTH, AlignStage1Config, query_config
from radialog_model.align.folder import load_tower, save_stage1
from radialog_model.align.pairs import Pair, PairCollator, PairDataset, read_pairs
from radialog_model.align.presets import align_preset_named
from radialog_model.align.processing import tower_images
from radialog_model.align.settings import AlignSettings
from radialog_model.align.stage1 import AlignStage1Model
from radialog_model.align.text import bert_tokenizer, report_tokenizer
from radialog_model.align.trainer import AlignTrainer, Log, Progress
from radialog_model.resuming import claim, last_complete

WORK = "work"
"""Folder under the output that holds what an interrupted run resumes from."""


def train_stage1(settings: AlignSettings, dataset: Path, output: Path, image_root: Path | None, log: Log) -> None:
    """Train the query transformer and write it; an interrupted run goes on where it was.

    Args:
        settings: The configuration.
        dataset: Folder of a built dataset with reports.
        output: Folder of the result, which ``radialog_model.align.build.build_align`` takes.
        image_root: Folder that image paths are relative to; the embedded demo's by default.
        log: Told about progress, a line at a time.

    Raises:
        DataError: If dataset or images cannot be used.
        ModelError: If tower or BERT cannot be loaded.
        UsageError: If the configuration or the output folder cannot be used, or another run was interrupted there.
    """
    set_seed(settings.seed)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    disable_progress_bar()
    root = image_root or demo_dir()
    train, validation = (read_pairs(dataset, split, root) for split in ("train", "validation"))
    if len(train) < settings.batch_size:
        where, mend = str(dataset), "a smaller batch_size, or more data"
        raise DataError(f"{len(train)} pairs do not fill a batch of {settings.batch_size}", where=where, mend=mend)
    model, tokenizer = build_stage1(settings, [pair.report for pair in train], log)
    manifest = read_manifest(dataset)
    assert manifest is not None  # read_pairs has seen it
    claim(output / WORK, {"config": settings.model_dump(mode="json"), "dataset": manifest.fingerprint})
    history = _run(settings, model, tokenizer, train, validation, root, output / WORK, log)
    described = {
        "notices": list(settings.notices),
        "training": {
            "config": settings.model_dump(mode="json"),
            "pairs": len(train),
            "reports": len({pair.number for pair in train}),
            "validation": history,
        },
    }
    if PartialState().is_main_process:
        save_stage1(output, model, tokenizer, described)
        shutil.rmtree(output / WORK)
        log(f"first stage: {output}")


def build_stage1(
    settings: AlignSettings, reports: list[str], log: Log
) -> tuple[AlignStage1Model, PreTrainedTokenizerBase]:
    """Return the untrained model and its tokenizer.

    Args:
        settings: The configuration.
        reports: Texts that a tokenizer is trained on where no BERT is given.
        log: Told what came of tower and BERT.

    Raises:
        ModelError: If tower or BERT cannot be loaded.
    """
    preset = align_preset_named(settings.preset)
    tower = None if settings.tower is None else load_tower(settings.tower)
    vision = preset.tower if tower is None else tower.config
    width = RELEASED_WIDTH if settings.released_bugs else vision.hidden_size
    dropout = {"hidden_dropout_prob": settings.dropout, "attention_probs_dropout_prob": settings.dropout}
    own: dict[str, Any] = {"encoder_hidden_size": width, **dropout}
    if settings.bert is None:
        tokenizer = report_tokenizer(reports, settings.vocab_size)
        own |= {**preset.layers, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        layers = query_config(own, use_qformer_text_input=True)
    else:
        tokenizer = bert_tokenizer(settings.bert)
        layers = bert_shape(settings.bert, vocab_size=len(tokenizer), **own)
    config = AlignStage1Config(
        vision_config=vision,
        qformer_config=layers,
        num_query_tokens=preset.queries,
        projection_dim=preset.projection_dim,
        max_text_length=min(preset.max_text_length, layers.max_position_embeddings),
        freeze_tower=settings.freeze_tower,
        released_bugs=settings.released_bugs,
    )
    model = AlignStage1Model(config)
    if tower is not None:
        model.vision_tower.load_state_dict(tower.state_dict())
    if settings.bert is not None:
        log(str(initialise_from_bert(model, settings.bert)))
    return model, tokenizer


def _run(
    settings: AlignSettings,
    model: AlignStage1Model,
    tokenizer: PreTrainedTokenizerBase,
    train: list[Pair],
    validation: list[Pair],
    root: Path,
    work: Path,
    log: Log,
) -> list[dict[str, float]]:
    images: CLIPImageProcessorPil = tower_images(model.vision_tower.config)
    train_set = PairDataset(train, images, root, augmented=settings.augment, seed=settings.seed)
    trainer = AlignTrainer(
        model=model,
        args=_arguments(settings, work, len(train)),
        train_dataset=train_set,
        eval_dataset=PairDataset(validation, images, root),
        data_collator=PairCollator(tokenizer, model.config.max_text_length),
        callbacks=[Progress(train_set, log)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_complete(work))
    return [
        {name.removeprefix("eval_"): round(value, 4) for name, value in entry.items() if name.startswith("eval_")}
        for entry in trainer.state.log_history
        if "eval_recall_mean" in entry
    ]


def _arguments(settings: AlignSettings, work: Path, pairs: int) -> TrainingArguments:
    # Without use_cpu, processes that torchrun starts on a machine without accelerator would not find each other.
    places: dict[str, Any] = {
        "output_dir": str(work),
        "report_to": "none",
        "use_cpu": not torch.accelerator.is_available(),
    }
    processes = int(TrainingArguments(**places).world_size)
    steps = max(pairs // (settings.batch_size * processes), 1)
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = round((settings.warmup_epochs or 0) * steps)
    return TrainingArguments(
        **places,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        dataloader_drop_last=True,
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=False,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_warmup_with_min_lr",
        lr_scheduler_kwargs={
            "min_lr": settings.min_learning_rate,
            "warmup_lr_rate": settings.warmup_learning_rate / settings.learning_rate,
        },
        warmup_steps=warmup,
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16",
        eval_strategy="epoch",
        save_strategy="epoch" if settings.save_steps is None else "steps",
        save_steps=settings.save_steps or 500,
        save_total_limit=2 if settings.keep_best else 1,
        load_best_model_at_end=settings.keep_best,
        metric_for_best_model="recall_mean" if settings.keep_best else None,
        logging_strategy="epoch",
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        seed=settings.seed,
    )
