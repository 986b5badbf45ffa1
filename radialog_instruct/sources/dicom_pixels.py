"""From a radiograph's stored values to grey as a viewer shows it: DICOM PS3.3, C.11.1 and C.11.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from pydicom import Dataset

SHOWN_TAGS = (
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
"""The tags that decide how pixels look."""


def grey_image(pixels: NDArray[Any], tags: Dataset) -> Image.Image:
    """Return the image in mode ``L``: bone bright, air dark, padding black.

    Args:
        pixels: [rows, columns] stored values, or [rows, columns, 3] of 8-bit colour.
        tags: At least ``SHOWN_TAGS``, where the file has them.

    Raises:
        ValueError: If a table or window cannot be applied.
    """
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    if pixels.ndim == 3:
        deep = 255.0 / (2 ** int(tags.BitsStored) - 1)
        return Image.fromarray((pixels * deep).round().astype(np.uint8)).convert("L")
    padding = _padding(pixels, tags)
    values = apply_modality_lut(pixels, tags)
    if tags.get("VOILUTSequence"):
        values = apply_voi(values, tags)
        bits = int(tags.VOILUTSequence[0].LUTDescriptor[2])
        shown = values.astype(np.float32) / (2**bits - 1)
    else:
        shown = _windowed(values.astype(np.float32), tags, padding)
    if tags.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    shown[padding] = 0
    return Image.fromarray((shown.clip(0, 1) * 255).round().astype(np.uint8))


def _windowed(values: NDArray[np.float32], tags: Dataset, padding: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return values in 0..1 by the first window, or by their own range where there is no usable one."""
    center, width = _first(tags.get("WindowCenter")), _first(tags.get("WindowWidth"))
    function = str(tags.get("VOILUTFunction") or "LINEAR").upper()
    if function == "LINEAR" and center is not None and width is not None:
        center, width = center - 0.5, width - 1
    if center is None or width is None or width <= 0:
        inside = values[~padding] if not padding.all() else values
        low, high = float(inside.min()), float(inside.max())
        return (values - low) / max(high - low, 1e-6)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)), np.float32)
    return ((values - center) / width + 0.5).clip(0, 1)


def _padding(pixels: NDArray[Any], tags: Dataset) -> NDArray[np.bool_]:
    first = tags.get("PixelPaddingValue")
    if first is None:
        return np.zeros(pixels.shape, np.bool_)
    last = tags.get("PixelPaddingRangeLimit", first)
    low, high = sorted((int(first), int(last)))
    return np.asarray((pixels >= low) & (pixels <= high))


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
