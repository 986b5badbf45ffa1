"""Pairs of image and report, out of a built dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerBase

from radialog_instruct.errors import DataError
from radialog_instruct.sources.images import load_image
from radialog_model.align.text import encode_reports
from radialog_model.data.rows import read_rows
from radialog_model.tower import augment


@dataclass(frozen=True)
class Pair:
    """An image and its report.

    Attributes:
        image: Path of the image, relative to the image root.
        report: The report's text.
    """

    image: str
    report: str

    @property
    def number(self) -> int:
        """A number that is the same for the same report."""
        return int.from_bytes(blake2b(self.report.encode(), digest_size=8).digest(), "big", signed=True)


def read_pairs(folder: Path, split: str, image_root: Path) -> list[Pair]:
    """Read the pairs of a split.

    Args:
        folder: A dataset built by ``radialog-instruct build``.
        split: ``train``, ``validation`` or ``test``.
        image_root: Folder that image paths are relative to.

    Raises:
        DataError: If there is no such dataset, it has no reports, or images are missing.
    """
    rows = read_rows(folder, split, ("report_generation",))
    pairs = [Pair(row.image, row.turns[-1].content) for row in rows if row.turns[-1].content.strip()]
    if not pairs:
        raise DataError(f"no report in the split {split}", where=str(folder), mend="build report_generation")
    missing = sorted({pair.image for pair in pairs if not (image_root / pair.image).is_file()})
    if missing:
        mend = "give their folder with --image-root, or build with --images require"
        raise DataError(f"{len(missing)} images are missing", where=str(image_root / missing[0]), mend=mend)
    return pairs


class PairDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Pairs with their images decoded and cropped.

    Args:
        pairs: The pairs.
        images: Resizes and crops.
        root: Folder that image paths are relative to.
        augmented: Whether images are changed at random, anew in each epoch.
        seed: Seed of the changes.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        images: CLIPImageProcessorPil,
        root: Path,
        *,
        augmented: bool = False,
        seed: int = 0,
    ) -> None:
        self._pairs, self._images, self._root = pairs, images, root
        self._augmented, self._seed = augmented, seed
        # Shared memory: workers that live on see the number change.
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Tell which epoch it is."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self._pairs[index]
        image = load_image(self._root / pair.image)
        pixels = self._images(images=image, return_tensors="pt")["pixel_values"]
        if self._augmented:
            # The seed belongs to pair and epoch, so a resumed run sees what an undisturbed one would.
            number = (self._seed * 1_000_003 + int(self._epoch)) * 10_000_019 + index
            pixels = augment(pixels, torch.Generator().manual_seed(number))
        return {"pixel_values": pixels[0], "report": pair.report, "number": pair.number}


class PairCollator:
    """Makes batches as the first stage's model takes them.

    Args:
        tokenizer: Tokenizer of the text branch.
        max_length: Most tokens of a report.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the arguments of ``AlignStage1Model.forward``."""
        text = encode_reports(self._tokenizer, (pair["report"] for pair in pairs), self._max_length)
        return {
            "pixel_values": torch.stack([pair["pixel_values"] for pair in pairs]),
            "input_ids": text.ids,
            "attention_mask": text.mask,
            "decoder_start": torch.full((len(pairs),), self._tokenizer.bos_token_id),
            "reports": torch.tensor([pair["number"] for pair in pairs]),
        }
