"""Tells whether an image file can be used."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

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
