"""Image files: whether one can be used, and its pixels as every vision tower takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from radialog_instruct.errors import DataError

MAX_PIXELS = 100_000_000
"""Larger pictures are refused: no chest X-ray has them, and a small file can claim any size."""


def check_image(path: Path) -> str | None:
    """Decode an image once.

    Args:
        path: The file.

    Returns:
        None when it can be used, else the reason why not.
    """
    try:
        with Image.open(path) as image:
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
    """Load a radiograph as grey in three channels.

    Raises:
        DataError: If the file is missing, no image, or cut short.
    """
    with reading(path), Image.open(path) as image:
        image.load()
        return to_rgb(image)


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
        raise DataError("not an image", where=str(path), mend="give a JPEG or PNG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image is damaged ({error})", where=str(path), mend="fetch it again") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as 8-bit grey in three channels; deeper pixels are stretched to their own range."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float32)
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / max(high - low, 1e-6))
        image = Image.fromarray(scaled.astype(np.uint8))
    return image.convert("L").convert("RGB")
