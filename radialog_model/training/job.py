"""What the stages of a training run share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.errors import DataError, UsageError
from radialog_model.assemble import Assembled, from_pretrained_parts, from_scratch
from radialog_model.checkpoint import checkpoint_folder
from radialog_model.config import TrainConfig
from radialog_model.data.encode import DialogEncoder
from radialog_model.data.images import ImageStore
from radialog_model.data.rows import Rows, read_rows
from radialog_model.findings import FindingsExtractor
from radialog_model.findings.cache import load_predictions
from radialog_model.presets import Preset, preset_named
from radialog_model.processing import train_tokenizer
from radialog_model.prompts import layout

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        config: Its configuration.
        preset: Shape of the model.
        dataset: Folder of the built dataset.
        fingerprint: Fingerprint of the dataset's manifest.
        image_root: Folder that the rows' image paths are relative to.
        train: Training rows.
        validation: Validation rows.
        model: The model.
        processor: Its processor.
        images: The images.
        extractor: The findings extractor that becomes part of the checkpoint, or None.
    """

    config: TrainConfig
    preset: Preset
    dataset: Path
    fingerprint: str
    image_root: Path
    train: Rows
    validation: Rows
    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    images: ImageStore
    extractor: FindingsExtractor | None

    def encoder(self) -> DialogEncoder:
        """Return what makes token ids of the rows."""
        return DialogEncoder(
            self.processor,
            self.model.config.image_seq_length,
            variant="align" if self.model.config.model_type == "radialog_align" else "project",
            supervise=self.config.dialog.supervise,
            image=self.config.inputs.image,
            findings=self.config.inputs.findings != "off",
        )

    @contextmanager
    def first_process(self) -> Iterator[None]:
        """Let the first process of all go first; the others find what it wrote in the folder they share."""
        from accelerate import PartialState

        # The others may wait for as long as half a million images take, beyond any default timeout.
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=2))
        with state.main_process_first():
            yield


def prepare(config: TrainConfig, dataset: Path, image_root: Path, pixels: Path | None) -> Job:
    """Read the rows, look for their images, and make the model.

    Args:
        config: The configuration.
        dataset: Folder of the built dataset.
        image_root: Folder that image paths are relative to.
        pixels: Where decoded crops are kept; None decodes an image whenever it is asked for.

    Raises:
        DataError: If dataset or images cannot be used.
        ModelError: If base model or tower cannot be loaded.
        UsageError: If the configuration names no preset.
    """
    preset = preset_named(config.preset)
    if config.image_size is not None:
        preset = replace(preset, image_size=config.image_size)
    manifest = read_manifest(dataset)
    train, validation = (_rows(config, dataset, split) for split in ("train", "validation"))
    assert manifest is not None  # read_rows has seen it
    _check_images([*train.images(), *validation.images()], image_root)
    assembled = _assemble(config, preset, train)
    images = ImageStore(assembled.processor, image_root, pixels)
    return Job(
        config=config,
        preset=preset,
        dataset=dataset,
        fingerprint=manifest.fingerprint,
        image_root=image_root,
        train=train,
        validation=validation,
        model=assembled.model,
        processor=assembled.processor,
        images=images,
        extractor=None if config.extractor is None else FindingsExtractor.load(checkpoint_folder(config.extractor)),
    )


def _rows(config: TrainConfig, dataset: Path, split: str) -> Rows:
    rows = read_rows(dataset, split, config.tasks)
    file = config.inputs.predictions
    return rows if file is None else rows.with_findings(load_predictions(file), str(file))


def _check_images(paths: list[str], root: Path) -> None:
    missing = sorted(path for path in set(paths) if not (root / path).is_file())
    if missing:
        mend = "give their folder with --image-root, or build with --images require"
        raise DataError(f"{len(missing)} images are missing", where=str(root / missing[0]), mend=mend)


def _assemble(config: TrainConfig, preset: Preset, train: Rows) -> Assembled:
    stage = config.dialog
    # Weights that learn are kept in 32 bits; under adapters the language model's own do not.
    dtype = _DTYPES[stage.precision] if stage.lora is not None else torch.float32
    if config.stage1 is not None:
        from radialog_model.align.build import build_align

        built = build_align(Path(config.stage1), llm=config.base_model, dtype=dtype, quantization=stage.quantization)
        return Assembled(built.model, built.processor)
    if config.base_model is not None:
        return from_pretrained_parts(
            preset,
            config.base_model,
            config.tower_weights,
            image_size=config.image_size,
            dtype=dtype,
            quantization=stage.quantization,
        )
    if config.tower_weights is not None:
        raise UsageError("tower_weights without base_model", mend="name the language model too")
    texts = [message["content"] for row in train for message in layout(row.turns, row.findings or None)]
    tokenizer: Any = train_tokenizer(texts, config.vocab_size)
    return from_scratch(preset, tokenizer)
