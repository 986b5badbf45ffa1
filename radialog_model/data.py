"""From a built dataset to training examples: rows, images, token ids, and which tokens are supervised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaProcessor

from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.config import ContextPolicy
from radialog_instruct.context import drop_context
from radialog_instruct.errors import DataError
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_model.prompts import IMAGE_TOKEN, asks_for_a_report_first, layout

IGNORED = -100
"""Label of a token that is not supervised."""


@dataclass(frozen=True)
class Row:
    """What training needs of one row of a built dataset."""

    id: str
    task: str
    turns: tuple[Turn, ...]
    image: str
    view: str | None
    findings: str | None
    labels: tuple[int | None, ...] | None
    report_turn: int | None
    drawn: bool = False
    """Whether the row already shows one draw of context dropping."""


def read_rows(folder: Path, split: str, tasks: Sequence[str]) -> list[Row]:
    """Read the rows of a split that have an image, ordered by task and file.

    Args:
        folder: A dataset built by ``radialog-instruct build``.
        split: ``train``, ``validation`` or ``test``.
        tasks: Names of the tasks to read.

    Raises:
        DataError: If the folder holds no such dataset.
    """
    import pyarrow.parquet as pq

    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError("no built dataset here", where=str(folder), mend="run radialog-instruct build first")
    rows = []
    drawn = manifest.config.context is ContextPolicy.DRAWN
    for task in tasks:
        for file in sorted((folder / task).glob(f"{split}-*.parquet")):
            rows += [_row(record, drawn=drawn) for record in pq.read_table(file).to_pylist() if record["image_paths"]]
    if not rows:
        raise DataError(f"no row of the split {split} with an image", where=str(folder), mend=f"build {tasks}")
    return rows


def _row(record: dict[str, Any], *, drawn: bool) -> Row:
    return Row(
        id=record["id"],
        task=record["task"],
        turns=tuple(Turn(message["role"], message["content"]) for message in record["messages"]),
        image=record["image_paths"][0],
        view=record["view"],
        findings=record["findings_text"],
        labels=tuple(record["finding_labels"]) if record["finding_labels"] is not None else None,
        report_turn=record["report_turn"],
        drawn=drawn,
    )


class ImageStore:
    """Decoded and cropped images, each kept as 8-bit pixels after its first use.

    Args:
        processor: The processor, which resizes and crops.
        root: Folder that image paths are relative to.
    """

    def __init__(self, processor: LlavaProcessor, root: Path) -> None:
        self._processor, self._root = processor, root
        self._pixels: dict[str, Tensor] = {}

    def __getitem__(self, path: str) -> Tensor:
        """Return an image as [3, image_size, image_size] in 0..1.

        Raises:
            DataError: If the file is missing or damaged.
        """
        if path not in self._pixels:
            image = load_image(self._root / path)
            pixels = self._processor.image_processor(images=image, return_tensors="pt")["pixel_values"][0]
            self._pixels[path] = (pixels[0] * 255).round().to(torch.uint8)
        return (self._pixels[path].float() / 255).expand(3, -1, -1)

    def batch(self, paths: Sequence[str]) -> Tensor:
        """Return images as [n, 3, image_size, image_size] in 0..1."""
        return torch.stack([self[path] for path in paths])


def encode(
    processor: LlavaProcessor, turns: Sequence[Turn], task: str, findings: str | None, n_image_tokens: int
) -> tuple[list[int], list[int]]:
    """Tokenize a dialog; only the last assistant turn is supervised.

    Args:
        processor: The processor.
        turns: The neutral dialog, ending with the assistant's target.
        task: Its task.
        findings: The findings text; it is used only where the dialog begins with the report prompt.
        n_image_tokens: Tokens an image takes.

    Returns:
        Token ids, and labels that are ``IGNORED`` before the last answer.

    Raises:
        DataError: If no token is supervised.
    """
    shown = findings if asks_for_a_report_first(task, len(turns) - 1) else None
    chat = layout(turns, shown)
    tokenizer = processor.tokenizer
    image = IMAGE_TOKEN * n_image_tokens
    whole = tokenizer.apply_chat_template(chat, tokenize=False, chat_template=processor.chat_template)
    prompt = tokenizer.apply_chat_template(chat[:-1], tokenize=False, chat_template=processor.chat_template)
    if not whole.startswith(prompt):
        raise DataError("the chat template rewrites earlier turns", mend="answers must only be appended")
    start = len(prompt.replace(IMAGE_TOKEN, image))
    encoded = tokenizer(whole.replace(IMAGE_TOKEN, image), add_special_tokens=False, return_offsets_mapping=True)
    ids = [tokenizer.bos_token_id, *encoded["input_ids"]]
    # Offsets instead of tokenizing the halves: a merge across the border would go unnoticed there.
    supervised = [False, *(begin >= start for begin, _ in encoded["offset_mapping"])]
    if not any(supervised):
        raise DataError("no token of the answer is supervised", where=task, mend="is the answer empty?")
    return ids, [token if kept else IGNORED for token, kept in zip(ids, supervised, strict=True)]


class DialogDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Training examples; contexts are dropped anew in each epoch, the findings text is that of the reference labels.

    Args:
        rows: The rows.
        processor: The processor.
        images: The images.
        n_image_tokens: Tokens an image takes.
        context: Longest sequence.
        seed: Seed of the choices.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        processor: LlavaProcessor,
        images: ImageStore,
        n_image_tokens: int,
        context: int,
        seed: int,
    ) -> None:
        self._rows, self._processor, self._images = rows, processor, images
        self._n_image_tokens, self._context, self._seed = n_image_tokens, context, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        turns = row.turns
        if not row.drawn:
            turns = drop_context(turns, row.task, row.report_turn, row.id, epoch=self.epoch, seed=self._seed).turns
        ids, labels = encode(self._processor, turns, row.task, row.findings, self._n_image_tokens)
        if len(ids) > self._context:
            where, mend = f"row {row.id}", "a longer context, or a shorter report"
            raise DataError(f"{len(ids)} tokens exceed the context of {self._context}", where=where, mend=mend)
        return {"input_ids": ids, "labels": labels, "pixel_values": self._images[row.image]}


class Collator:
    """Pads examples on the right, as training wants it.

    Args:
        pad: Id of the padding token.
    """

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return input_ids, labels and attention_mask [batch, length] and pixel_values [batch, 3, size, size]."""
        length = max(len(example["input_ids"]) for example in examples)

        def padded(key: str, value: int) -> Tensor:
            return torch.tensor([e[key] + [value] * (length - len(e[key])) for e in examples])

        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        return {
            "input_ids": padded("input_ids", self._pad),
            "labels": padded("labels", IGNORED),
            "attention_mask": (torch.arange(length)[None, :] < lengths[:, None]).long(),
            "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
        }
