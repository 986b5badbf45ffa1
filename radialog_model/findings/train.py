"""Training of the stand-alone extractor: weighted binary cross-entropy, the best epoch by validation macro F1."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.findings import FINDINGS
from radialog_model.findings.backbone import build_extractor
from radialog_model.findings.config import FindingsTrainConfig
from radialog_model.findings.data import (
    FeatureDataset,
    LabelledImages,
    PixelDataset,
    check_files,
    labelled_images,
    pos_weight,
)
from radialog_model.findings.extractor import FindingsExtractor
from radialog_model.findings.model import FindingsModel
from radialog_model.findings.scores import score_findings
from radialog_model.findings.thresholds import HALF, tune_thresholds
from radialog_model.resuming import claim, last_complete

WORK = "work"
"""Folder under the output that holds what an interrupted run resumes from."""
Log = Callable[[str], None]


class _FindingsTrainer(Trainer):
    """Trainer whose loss weighs the positives of each class."""

    def __init__(self, *, weight: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self._weight = weight

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        weight = self._weight.to(outputs.logits.device)
        loss = binary_cross_entropy_with_logits(outputs.logits.float(), labels, pos_weight=weight)
        return (loss, outputs) if return_outputs else loss


def train_findings(
    config: FindingsTrainConfig, dataset: Path, output: Path, image_root: Path, log: Log
) -> FindingsExtractor:
    """Train an extractor and write its folder; an interrupted run goes on behind its last epoch.

    Args:
        config: The configuration.
        dataset: Folder of a built dataset.
        output: Folder of the extractor.
        image_root: Folder that image paths are relative to.
        log: Told about progress, a line at a time.

    Raises:
        DataError: If dataset or images cannot be used.
        UsageError: If the configuration or the output folder cannot be used, or another run was interrupted there.
        ModelError: If the backbone cannot be loaded.
    """
    set_seed(config.seed)
    disable_progress_bar()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    images = {split: labelled_images(dataset, split) for split in ("train", "validation")}
    for split, found in images.items():
        check_files(found, image_root)
        left_out = f", {found.unlabelled} without labels left out" if found.unlabelled else ""
        log(f"{split}: {len(found.paths)} images{left_out}")
    model, processor = build_extractor(config)
    manifest = read_manifest(dataset)
    assert manifest is not None  # labelled_images has seen it
    claim(output / WORK, {"config": config.model_dump(mode="json"), "dataset": manifest.fingerprint})
    sets = {split: PixelDataset(found, image_root, processor) for split, found in images.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cached = config.freeze and config.head == "linear"
    ready: dict[str, Any] = {s: _features(model.to(device), d, config) for s, d in sets.items()} if cached else sets  # type: ignore[arg-type]
    trainer = _trainer(config, model, ready, pos_weight(images["train"].targets), output / WORK, log)
    trainer.train(resume_from_checkpoint=last_complete(output / WORK))
    probabilities = torch.sigmoid(torch.from_numpy(trainer.predict(ready["validation"]).predictions))
    if config.thresholds == "tuned":
        chosen = tune_thresholds(probabilities, images["validation"].targets)
        # rounded to the grid they were chosen from, so that the file reads as it was meant
        model.config.thresholds = {n: round(v, 2) for n, v in zip(FINDINGS, chosen.tolist(), strict=True)}
    training = {"config": config.model_dump(mode="json"), **_summary(trainer, images)}
    model.cpu().train(False)
    extractor = FindingsExtractor(model, processor, config.notices, training)
    extractor.save_pretrained(output)
    shutil.rmtree(output / WORK)
    log(f"findings extractor: {output}")
    return extractor


@torch.no_grad()
def _features(model: FindingsModel, pixels: PixelDataset, config: FindingsTrainConfig) -> FeatureDataset:
    model.train(False)
    loader = DataLoader(pixels, config.batch_size, num_workers=config.workers)
    features = [model.features(batch["pixel_values"].to(model.device)).cpu() for batch in loader]
    return FeatureDataset(torch.cat(features), pixels.images.targets)


def _trainer(
    config: FindingsTrainConfig, model: FindingsModel, sets: dict[str, Any], weight: Tensor, work: Path, log: Log
) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        num_train_epochs=config.epochs,
        lr_scheduler_type="constant",
        bf16=config.bf16,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
    )
    trainer = _FindingsTrainer(
        weight=weight,
        model=model,
        args=arguments,
        train_dataset=sets["train"],
        eval_dataset=sets["validation"],
        compute_metrics=_metrics,
        callbacks=[_Epochs(log)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _metrics(prediction: EvalPrediction) -> dict[str, float]:
    logits, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    # sigmoid(x) >= 0.5 exactly where x >= 0
    scores = score_findings(targets, logits >= 0, logits)
    return {"macro_f1": scores.macro_f1, "micro_f1": scores.micro_f1, "auroc": scores.mean_auroc or HALF}


def _summary(trainer: Trainer, images: dict[str, LabelledImages]) -> dict[str, Any]:
    epochs = [
        {key: round(entry[f"eval_{key}"], 4) for key in ("loss", "macro_f1", "micro_f1", "auroc")}
        for entry in trainer.state.log_history
        if "eval_macro_f1" in entry
    ]
    best = max(range(len(epochs)), key=lambda i: epochs[i]["macro_f1"]) + 1
    return {"images": {s: len(i.paths) for s, i in images.items()}, "epochs": epochs, "best_epoch": best}


class _Epochs(TrainerCallback):
    """Tells the log what an epoch came to."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def on_evaluate(
        self, args: TrainingArguments, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        self._log(
            f"epoch {state.epoch:.0f}/{args.num_train_epochs:.0f}: validation loss {metrics['eval_loss']:.3f}, "
            f"macro F1 {metrics['eval_macro_f1']:.3f}, AUROC {metrics['eval_auroc']:.3f}"
        )
