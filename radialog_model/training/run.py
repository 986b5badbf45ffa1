"""A training run from start to checkpoint."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import UsageError
from radialog_instruct.files import unwritable
from radialog_instruct.records import Terms
from radialog_model.checkpoint import RADIALOG_FILE, save_checkpoint
from radialog_model.config import TowerStage, TrainConfig
from radialog_model.findings import FindingsHead
from radialog_model.resuming import claim
from radialog_model.tower import tower_data, train_tower
from radialog_model.training.callbacks import Log
from radialog_model.training.dialog import run_dialog_stage
from radialog_model.training.job import Job, prepare

WORK = "work"
"""Folder under the output that holds what an interrupted run resumes from."""
STAGE_1, DONE = "tower.pt", ".done"


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
        ModelError: If base model or tower cannot be loaded.
        UsageError: If the configuration or the output folder cannot be used.
    """
    disable_progress_bar()  # of weights being read: noise between the lines of the log
    set_seed(config.seed)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    work = _work_folder(output)
    cached = config.dialog.throughput.pixel_cache and config.inputs.image
    job = prepare(config, dataset, image_root or demo_dir(), work / "pixels" if cached else None)
    claim(work, _identity(job))  # once all is loaded: who mends a path is no other run
    if cached:
        with job.first_process():
            job.images.fill([*job.train.images(), *job.validation.images()])
    with job.first_process():
        head = None if config.tower is None else _tower_stage(job, config.tower, work, log)
    trained = run_dialog_stage(job, work, log)
    if not trained.main:
        return
    save_checkpoint(
        output,
        trained.model,
        job.processor,
        job.extractor or head,
        config.notices,
        _description(job, trained.history),
        dtype=torch.float16 if config.base_model is None else torch.float32,
        state=trained.state,
    )
    # First under another name: a kill must not leave half of it beside a finished checkpoint, as if to resume.
    shutil.rmtree(output / DONE, ignore_errors=True)
    shutil.rmtree(work.rename(output / DONE))
    log(f"checkpoint: {output}")


def _work_folder(output: Path) -> Path:
    work = output / WORK
    if (output / RADIALOG_FILE).is_file() and not work.is_dir():
        mend = "choose another --output, or remove it"
        raise UsageError("a finished checkpoint lies here", where=str(output), mend=mend)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output, error) from error
    return work


def _identity(job: Job) -> dict[str, Any]:
    return {
        "config": job.config.model_dump(mode="json"),
        "dataset": job.fingerprint,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def _description(job: Job, history: dict[str, Any]) -> dict[str, Any]:
    origins = {source: Terms(terms) for source, terms in job.train.origins().items()}
    return {
        "config": job.config.model_dump(mode="json"),
        "dataset": job.fingerprint,
        "datasets": sorted(origins),
        "terms": max(origins.values(), key=list(Terms).index),  # the strictest: they are in that order
        "rows": dict(sorted(Counter(job.train.tasks()).items())),
        "images": len(set(job.train.images())),
        **history,
    }


def _tower_stage(job: Job, stage: TowerStage, work: Path, log: Log) -> FindingsHead:
    tower: Any = job.model.model.vision_tower
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
        job.images,
        tower_data(job.train),
        tower_data(job.validation),
        epochs=stage.epochs,
        batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        seed=job.config.seed,
        log=log,
    )
    temporary = saved.with_suffix(".tmp")
    torch.save({"tower": tower.state_dict(), "head": head.state_dict()}, temporary)
    temporary.replace(saved)
    return head
