"""A request as chat interfaces take it: its images in the first user turn, as pixels or as a data URL."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from radialog_bench.chat import Message, Request
from radialog_instruct.errors import DataError
from radialog_instruct.sources.dicom import is_dicom
from radialog_instruct.sources.images import load_image, reading

SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg"}

_CACHED = 8
"""Images kept in memory, of about 25 MB each: further questions about a study come soon after the first."""


def with_system(messages: tuple[Message, ...], system: str | None) -> tuple[Message, ...]:
    """Put a system message before a dialog that has none."""
    if system is None or messages[0].role == "system":
        return messages
    return (Message("system", system), *messages)


def template_text(path: str | None) -> str | None:
    """Read a chat template.

    Raises:
        DataError: If the file cannot be read.
    """
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=path, mend="check --model-args chat_template") from error


def chat_messages(messages: Sequence[Message], images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a dialog as lists of content blocks, the form that chat templates of image models read.

    Args:
        messages: The dialog.
        images: One block an image; they stand before the text of the first user turn.
    """
    first = next(place for place, message in enumerate(messages) if message.role == "user")
    return [
        {
            "role": message.role,
            "content": [*(images if place == first else ()), {"type": "text", "text": message.content}],
        }
        for place, message in enumerate(messages)
    ]


def request_images(request: Request) -> list[Image.Image]:
    """Return a request's images as grey in three channels.

    Raises:
        DataError: If one cannot be read.
    """
    return [_pixels(image.path) for image in request.images]


_pixels = lru_cache(_CACHED)(load_image)


@lru_cache(_CACHED)
def data_url(path: Path, max_side: int | None = None) -> str:
    """Return an image as a data URL.

    An 8-bit PNG or JPEG is sent as its own bytes. Anything else, and what is larger than ``max_side``, is sent as an
    8-bit PNG; pixels of more than 8 bits are stretched to their own range.

    Args:
        path: The file.
        max_side: Longest side in pixels; a larger image is shrunk.

    Raises:
        RadialogError: As ``radialog_instruct.sources.images.read_image``.
    """
    with reading(path):
        if not is_dicom(path):
            data = path.read_bytes()
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                small = max_side is None or max(image.size) <= max_side
                upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
                if image.format in SENT_AS_THEY_ARE and image.mode in ("L", "RGB") and small and upright:
                    return _url(SENT_AS_THEY_ARE[image.format], data)
        shown = load_image(path).convert("L")
    if max_side is not None:
        shown.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    return _url("image/png", buffer.getvalue())


def _url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
