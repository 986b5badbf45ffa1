"""Image features as the language model reads them, computed once an image and kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import torch
from PIL import Image
from torch import Tensor

CACHE_BYTES = 256 * 2**20
_TOWER_BATCH = 16
"""Images that go through the tower at once."""


def image_key(image: Image.Image) -> str:
    """Return the identity of an image: a hash of its size, mode and pixels."""
    return blake2b(image.tobytes(), digest_size=16, person=f"{image.mode}{image.size}".encode()[:16]).hexdigest()


class FeatureCache:
    """Features by image, the least recently used dropped first.

    Args:
        model: A LLaVA: ``get_image_features`` gives a [tokens, hidden] an image.
        image_processor: From images to ``pixel_values``.
        max_bytes: Most bytes kept; 0 keeps none beyond a call.
    """

    def __init__(self, model: Any, image_processor: Any, *, max_bytes: int = CACHE_BYTES) -> None:
        self._model, self._image_processor, self._max_bytes = model, image_processor, max_bytes
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self.encoded = 0
        """Images that went through the tower so far."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of the features that are kept."""
        return sum(value.nbytes for value in self._kept.values())

    def get(self, images: Mapping[str, Image.Image]) -> dict[str, Tensor]:
        """Return the features of images.

        Args:
            images: The images by identity.

        Returns:
            [tokens, hidden] by identity.
        """
        found = {key: self._kept[key] for key in images if key in self._kept}
        for key in found:
            self._kept.move_to_end(key)
        new = [key for key in images if key not in found]
        for start in range(0, len(new), _TOWER_BATCH):
            keys = new[start : start + _TOWER_BATCH]
            for key, features in zip(keys, self._encode([images[key] for key in keys]), strict=True):
                found[key] = features
                self._keep(key, features)
        return found

    @torch.inference_mode()
    def _encode(self, images: Sequence[Image.Image]) -> list[Tensor]:
        model = self._model
        pixels = self._image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        output = model.get_image_features(pixel_values=pixels.to(model.device, model.dtype), return_dict=True)
        self.encoded += len(images)
        # Each is copied out of the batch it was computed in, or dropping one would free nothing.
        return [features.clone() for features in output.pooler_output]

    def _keep(self, key: str, features: Tensor) -> None:
        self._kept[key] = features
        total = self.kept_bytes
        while self._kept and total > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            total -= dropped.nbytes
