from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radialog_instruct.sources.images import load_image
from radialog_model.serve.errors import ApiError
from radialog_model.serve.images import ImageLimits, read_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def as_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(url: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def deep() -> bytes:
    return encoded(Image.fromarray((np.arange(64, dtype=np.uint16) * 50).reshape(8, 8)), "PNG")


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    half = np.zeros((8, 16), np.uint8)
    half[:, 8:] = 250
    return encoded(Image.fromarray(half), "JPEG", exif=exif, quality=100)


@pytest.mark.parametrize("content", [EPS, encoded(Image.new("L", (4, 4)), "BMP")])
def test_other_formats_are_never_opened(content: bytes) -> None:
    with pytest.raises(ApiError, match="this is not an image: send a JPEG, PNG, TIFF, WebP or GIF"):
        read_image(as_url(content), ImageLimits())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF"])
def test_named_formats_are_read(kind: str) -> None:
    image = read_image(as_url(encoded(Image.new("L", (4, 6), 90), kind)), ImageLimits())
    assert (image.pixels.size, image.pixels.mode) == ((4, 6), "RGB")


def test_an_exif_orientation_is_followed() -> None:
    pixels = np.asarray(read_image(as_url(turned()), ImageLimits()).pixels)[..., 0]
    assert pixels.shape == (16, 8)
    assert pixels[0].max() < 20 < 230 < pixels[-1].min()


def test_deep_pixels_are_stretched() -> None:
    pixels = np.asarray(read_image(as_url(deep()), ImageLimits()).pixels)
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("content", [deep(), turned()])
def test_what_is_handed_on_and_what_generate_reads_are_the_same_pixels(content: bytes, tmp_path: Path) -> None:
    image = read_image(as_url(content), ImageLimits())
    (tmp_path / "image").write_bytes(content)
    assert (decoded(image.url()) == np.asarray(image.pixels)).all()
    assert (decoded(image.url()) == np.asarray(load_image(tmp_path / "image"))).all()


@pytest.mark.parametrize("url", ["http://[::1", "http://[::1]extra/x.png", "http://named:port/x.png", "http://"])
def test_addresses_that_are_none_are_the_clients_fault(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_image(url, ImageLimits(hosts=frozenset({"named"})))
    assert caught.value.status == 400
