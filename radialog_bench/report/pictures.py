"""Thumbnails of a page: each image is read once and stands in the page once, however many samples show it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

THUMBNAIL = 320
"""Longest side of a thumbnail, in pixels."""
_QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """A thumbnail, or why there is none.

    Attributes:
        key: Its id in the page.
        width: In pixels.
        height: In pixels.
        data: A ``data:`` address, or None.
        fault: Why there is none.
    """

    key: str
    width: int = 0
    height: int = 0
    data: str | None = None
    fault: str = ""


class Pictures:
    """Collects the thumbnails of a page."""

    def __init__(self) -> None:
        self._known: dict[str, Picture] = {}

    def add(self, paths: tuple[str, ...]) -> Picture:
        """Return the thumbnail of a sample's first image."""
        path = paths[0] if paths else ""
        if path not in self._known:
            self._known[path] = _picture(f"x{len(self._known)}", path)
        return self._known[path]

    def shown(self) -> list[Picture]:
        """Return the thumbnails there are, in the order they were met."""
        return [picture for picture in self._known.values() if picture.data]


def _picture(key: str, path: str) -> Picture:
    if not path:
        return Picture(key, fault="The image file is not on this machine")
    try:
        with Image.open(Path(path)) as image:
            small = image.convert("L")
            small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return Picture(key, fault="The image cannot be read")
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(key, *small.size, data)
