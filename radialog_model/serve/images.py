"""Images of requests: data URLs, or addresses on hosts that the operator named; bounded in bytes and pixels."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from collections.abc import Set
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import unquote_to_bytes, urlsplit

from PIL import Image, UnidentifiedImageError

from radialog_instruct.sources.images import FORMATS, upright_rgb
from radialog_model.serve.errors import ApiError

_PARAM = "messages"
_FETCH_SECONDS = 20.0


@dataclass(frozen=True)
class ImageLimits:
    """What an image may be.

    Attributes:
        max_bytes: Most bytes of the encoded file.
        max_pixels: Most pixels; a small file can claim any size.
        hosts: Hosts that images may be fetched from; none by default.
    """

    max_bytes: int = 24 * 2**20
    max_pixels: int = 50_000_000
    hosts: Set[str] = frozenset()


@dataclass(frozen=True)
class SentImage:
    """An image of a request.

    Attributes:
        pixels: Grey in three channels, upright.
        key: SHA-256 of the file that was sent.
    """

    pixels: Image.Image
    key: str

    def url(self) -> str:
        """Return the pixels as a data URL of a grey PNG, so that whoever decodes it sees the very same ones."""
        buffer = io.BytesIO()
        self.pixels.getchannel(0).save(buffer, "PNG", compress_level=1)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def read_image(url: str, limits: ImageLimits) -> SentImage:
    """Read the image behind an address.

    Raises:
        ApiError: If the address is of no allowed kind, or what stands there is no image within the limits.
    """
    data = _data(url, limits)
    if len(data) > limits.max_bytes:
        raise ApiError(f"the image has more than {limits.max_bytes} bytes", status=413, param=_PARAM)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            if image.width * image.height > limits.max_pixels:
                what = f"the image has {image.width} x {image.height} pixels, allowed are {limits.max_pixels}"
                raise ApiError(what, status=413, param=_PARAM)
            image.load()
            return SentImage(upright_rgb(image), sha256(data).hexdigest())
    except UnidentifiedImageError:
        what = "this is not an image: send a JPEG, PNG, TIFF, WebP or GIF"
        raise ApiError(what, param=_PARAM, code="invalid_image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ApiError(f"the image is damaged ({error})", param=_PARAM, code="invalid_image") from None


def _data(url: str, limits: ImageLimits) -> bytes:
    if url.startswith("data:"):
        head, comma, body = url.partition(",")
        if not comma:
            raise ApiError("the data URL has no comma", param=_PARAM, code="invalid_image")
        if not head.endswith(";base64"):
            return unquote_to_bytes(body)
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise ApiError("the data URL is not base64", param=_PARAM, code="invalid_image") from None
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ApiError("the image's address is no URL", param=_PARAM, code="invalid_image") from None
    if parts.scheme not in ("http", "https"):
        raise ApiError("send the image as a data: URL", param=_PARAM, code="invalid_image")
    if parts.hostname not in limits.hosts:
        what = "images are not fetched from this host: send a data: URL, or start the server with --image-host"
        raise ApiError(what, param=_PARAM, code="image_host")
    return _fetched(url, limits)


def _fetched(url: str, limits: ImageLimits) -> bytes:
    import httpx2

    data = bytearray()
    try:
        # No redirects: a host that was named must not lead to one that was not.
        with httpx2.stream("GET", url, timeout=_FETCH_SECONDS, follow_redirects=False) as response:
            if response.status_code != 200:
                raise ApiError(f"the image's host answers with status {response.status_code}", param=_PARAM)
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > limits.max_bytes:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ApiError(f"the image cannot be fetched ({type(error).__name__})", param=_PARAM) from None
    return bytes(data)
