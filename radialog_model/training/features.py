"""The features of a frozen tower, computed once for every image and read from disk in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from radialog_model.data.images import ImageStore
from radialog_model.data.tables import ArrayTable

_BLOCK = 16


class FeatureStore:
    """Hidden states of a frozen tower, exactly those that the projector reads.

    Args:
        model: A LLaVA whose tower does not learn.
        images: The images.
        folder: Where the table lies.
        dtype: ``float32``, or ``float16`` for training in mixed precision.
    """

    def __init__(
        self, model: LlavaForConditionalGeneration, images: ImageStore, folder: Path, dtype: str = "float32"
    ) -> None:
        self._tower: Any = model.model.vision_tower
        self._layer = model.config.vision_feature_layer
        self._images = images
        with torch.no_grad():
            shape = tuple(self._encode(torch.zeros(1, 3, *images.size)).shape[1:])
        self._table = ArrayTable(folder, shape, dtype, f"features of the tower {self._fingerprint()}")

    def fill(self, paths: Sequence[str], log: Callable[[str], None]) -> None:
        """Compute what the table lacks, on a GPU where there is one; an interrupted call goes on where it was.

        Args:
            paths: The images.
            log: Told now and then how many are done.
        """
        self._table.refresh()
        missing = [path for path in dict.fromkeys(paths) if path not in self._table]
        home = self._tower.device
        if missing and torch.cuda.is_available():
            self._tower.to("cuda")
        with torch.no_grad():
            for start in range(0, len(missing), _BLOCK):
                block = missing[start : start + _BLOCK]
                self._table.append(block, self._encode(self._images.batch(block)).cpu().numpy())
                if start and start % (100 * _BLOCK) == 0:
                    log(f"features of {start:,} of {len(missing):,} images")
        self._tower.to(home)

    def batch(self, paths: Sequence[str]) -> Tensor:
        """Return features as [n, tokens, hidden_size]."""
        return torch.from_numpy(np.stack([self._table[path] for path in paths])).float()

    def _encode(self, pixels: Tensor) -> Tensor:
        self._tower.eval()
        output = self._tower(pixels.to(self._tower.device), output_hidden_states=True, return_dict=True)
        hidden: Tensor = output.hidden_states[self._layer]
        return hidden.float()

    def _fingerprint(self) -> str:
        hasher = sha256()
        for name, value in sorted(self._tower.state_dict().items()):
            hasher.update(name.encode())
            hasher.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return hasher.hexdigest()[:16]


class _ReadsFeatures(nn.Module):
    """Stands where the tower stood: its input is what the tower would have made of the pixels."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = (tower,)  # in a tuple, so that its weights are none of this module's

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:  # noqa: ARG002
        features: Any = pixel_values
        # LLaVA takes one of the hidden states by an index from the end: the last or the one before.
        return BaseModelOutput(last_hidden_state=features, hidden_states=(features, features))


@contextmanager
def features_instead_of_pixels(model: LlavaForConditionalGeneration) -> Iterator[None]:
    """Let ``pixel_values`` hold features; the tower is back in its place afterwards.

    Args:
        model: The LLaVA.
    """
    inner: Any = model.model
    tower = inner.vision_tower
    inner.vision_tower = _ReadsFeatures(tower)
    try:
        yield
    finally:
        inner.vision_tower = tower


@contextmanager
def pixels_again(model: LlavaForConditionalGeneration) -> Iterator[None]:
    """Let ``pixel_values`` hold pixels for a while, where features stood in for them.

    Args:
        model: The LLaVA.
    """
    inner: Any = model.model
    reader = inner.vision_tower
    if not isinstance(reader, _ReadsFeatures):
        yield
        return
    (inner.vision_tower,) = (tower.to(model.device) for tower in reader.tower)
    try:
        yield
    finally:
        inner.vision_tower = reader
