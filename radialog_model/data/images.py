"""Images as the tower takes them: decoded, resized and cropped once where a table on disk is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaProcessor

from radialog_instruct.sources.images import load_image
from radialog_model.data.tables import ArrayTable

_BLOCK = 64
"""Images that are decoded side by side and written at once."""


class ImageStore:
    """The images of a dataset.

    Args:
        processor: The processor, which resizes, crops and normalises.
        root: Folder that image paths are relative to.
        table: Where ``fill`` keeps crops as 8-bit grey; an image it lacks is decoded whenever it is asked for.
    """

    def __init__(self, processor: LlavaProcessor, root: Path, table: Path | None = None) -> None:
        self._processor: Any = processor.image_processor
        self._root = root
        crop = self._processor.crop_size
        self.size = (int(crop["height"]), int(crop["width"]))
        content = f"grey crops, shortest edge {self._processor.size['shortest_edge']}, {self._processor.resample}"
        self._table = None if table is None else ArrayTable(table, self.size, "uint8", content)

    def __getitem__(self, path: str) -> Tensor:
        """Return an image as [3, height, width], scaled and normalised as the processor does.

        Raises:
            DataError: If the file is missing or damaged.
        """
        table = self._table
        grey = np.array(table[path]) if table is not None and path in table else self._crop(path)
        return self._pixels(torch.from_numpy(grey))

    def batch(self, paths: Sequence[str]) -> Tensor:
        """Return images as [n, 3, height, width]."""
        return torch.stack([self[path] for path in paths])

    def fill(self, paths: Sequence[str], progress: Callable[[int, int], None] | None = None) -> None:
        """Decode all images that the table lacks; an interrupted call goes on where it was.

        Args:
            paths: The images.
            progress: Told how many of the missing images are done, and how many there are.

        Raises:
            DataError: If a file is missing or damaged.
        """
        if self._table is None:
            return
        self._table.refresh()
        missing, before = [path for path in dict.fromkeys(paths) if path not in self._table], len(self._table)
        with ThreadPoolExecutor() as pool:
            for block in _blocks(missing):
                self._table.append(block, np.stack(list(pool.map(self._crop, block))))
                if progress is not None:
                    progress(len(self._table) - before, len(missing))

    def _crop(self, path: str) -> np.ndarray:
        image = load_image(self._root / path)
        out = self._processor(images=image, return_tensors="np", do_rescale=False, do_normalize=False)
        grey: np.ndarray = out["pixel_values"][0][0]  # three equal channels
        return grey.round().astype(np.uint8)

    def _pixels(self, grey: Tensor) -> Tensor:
        pixels: Tensor = (grey.float() * self._processor.rescale_factor).expand(3, -1, -1)
        if not self._processor.do_normalize:
            return pixels
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self._processor.image_mean, self._processor.image_std))
        normalised: Tensor = (pixels - mean) / std
        return normalised


def _blocks(paths: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), _BLOCK):
        yield list(paths[start : start + _BLOCK])
