"""Image files: whether one can be used, and its pixels as every vision tower takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from radialog_instruct.errors import DataError, RadialogError
from radialog_instruct.sources.dicom import is_dicom, read_dicom

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF")
"""What is decoded beside DICOM; some of the other formats that Pillow knows start programs."""
MAX_PIXELS = 100_000_000
"""Larger pictures are refused: no chest X-ray has them, and a small file can claim any size."""


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image.

    Attributes:
        image: Grey in three channels of 8 bits.
        notes: What a reader of answers about it should know, a phrase each; empty for most images.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()


def check_image(path: Path) -> str | None:
    """Decode an image once.

    Args:
        path: The file, a DICOM file included.

    Returns:
        None when it can be used, else the reason why not.
    """
    try:
        if is_dicom(path):  # first, because a DICOM file may begin as a TIFF too
            return _check_dicom(path)
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return "image larger than 100 megapixels"
            image.load()
    except FileNotFoundError:
        return "image file missing"
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return "not an image"
    except (OSError, SyntaxError, ValueError):
        return "image damaged or cut short"
    return None


def load_image(path: Path) -> Image.Image:
    """Load a radiograph as grey in three channels; ``read_image`` without its notes.

    Raises:
        RadialogError: As ``read_image``.
    """
    return read_image(path).image


def read_image(path: Path) -> LoadedImage:
    """Read a radiograph from a JPEG, PNG, TIFF, WebP, GIF or DICOM file, turned upright by its EXIF orientation.

    Raises:
        DataError: If the file is missing, no image, too large, cut short, or a DICOM file of several frames.
        UsageError: If it is a DICOM file and pydicom or its decoder is not installed.
    """
    with reading(path):
        if is_dicom(path):
            grey, notes = read_dicom(path, MAX_PIXELS)
            return LoadedImage(grey.convert("RGB"), notes)
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}", where=str(path))
            image.load()
            return LoadedImage(upright_rgb(image))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say which image is at fault where its bytes cannot be read or decoded.

    Args:
        path: The image that is being read.

    Raises:
        DataError: If the file is missing, no image, or damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError("no such image", where=str(path), mend="check the path") from error
    except UnidentifiedImageError as error:
        raise DataError(
            "not an image", where=str(path), mend="give a JPEG, PNG, TIFF, WebP, GIF or DICOM file"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image is damaged ({error})", where=str(path), mend="fetch it again") from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as ``to_rgb`` does, turned upright by its EXIF orientation."""
    return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as 8-bit grey in three channels.

    Deeper pixels are stretched to their own range; what is transparent becomes black.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / max(high - low, 1e-6))
        image = Image.fromarray(scaled.astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.new("RGBA", opaque.size, "black")
        image.alpha_composite(opaque)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    return image.convert("L").convert("RGB")


def _check_dicom(path: Path) -> str | None:
    try:
        read_dicom(path, MAX_PIXELS)
    except RadialogError as error:
        return error.what
    return None
