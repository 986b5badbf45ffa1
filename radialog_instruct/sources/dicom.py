"""DICOM files: one frame, as 8-bit grey the right way round.

Only the tags that say how to show the pixels, and what part of the body from which side they show, are ever read: names
and dates stay in the file, out of memory and out of every message.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from radialog_instruct.errors import DataError, missing_extra
from radialog_instruct.sources.dicom_notes import NOTE_TAGS, notes_of
from radialog_instruct.sources.dicom_pixels import SHOWN_TAGS, grey_image

if TYPE_CHECKING:
    from pydicom import Dataset

PREAMBLE = 128
"""Bytes before the letters DICM that begin a DICOM file."""
_KNOWN = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, EOFError, OSError, struct.error)
_SHAPE_TAGS = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration")


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM does, whatever its name ends with."""
    with path.open("rb") as handle:
        return handle.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def read_dicom(path: Path, max_pixels: int) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode a DICOM file.

    Stored values go through the modality's rescale or table, the first VOI table or window (or their own range where
    there is none), and are inverted where the lowest value means white.

    Args:
        path: The file.
        max_pixels: Larger images are refused before they are decoded.

    Returns:
        The image in mode ``L``, and what its tags say against using it as a frontal chest X-ray.

    Raises:
        DataError: If it is damaged, holds several frames, no pixels, too many, or colours that need a palette.
        UsageError: If pydicom is not installed, or no decoder for its compression.
    """
    try:
        import pydicom
        from pydicom.pixels.utils import pixel_array
    except ModuleNotFoundError as error:
        raise missing_extra("pydicom", "dicom") from error
    # pydicom quotes values of wrong tags in its warnings.
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        try:
            tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*SHOWN_TAGS, *NOTE_TAGS, *_SHAPE_TAGS])
            _check_shape(tags, path, max_pixels)
            _check_decoder(tags, path)
            pixels = pixel_array(path)
            return grey_image(pixels, tags), notes_of(tags)
        except (*_DAMAGE, pydicom.errors.InvalidDicomError) as error:
            # Its own text may quote a tag, so the kind of error has to do.
            mend = "fetch it again, or export it as PNG"
            raise DataError(f"the DICOM file is damaged ({type(error).__name__})", where=str(path), mend=mend) from None


def _check_shape(tags: Dataset, path: Path, max_pixels: int) -> None:
    def refuse(what: str, mend: str | None = None) -> DataError:
        return DataError(what, where=str(path), mend=mend)

    rows, columns = tags.get("Rows"), tags.get("Columns")
    if not rows or not columns:
        raise refuse("the DICOM file holds no image", "give the radiograph, not a report or a presentation state")
    frames = int(tags.get("NumberOfFrames") or 1)
    if frames != 1:
        raise refuse(f"{frames} frames in one DICOM file", "give a single radiograph")
    if int(rows) * int(columns) > max_pixels:
        raise refuse(f"{columns} x {rows} pixels are more than {max_pixels:,}")
    photometric = str(tags.get("PhotometricInterpretation", ""))
    if photometric not in _KNOWN:
        raise refuse(f"cannot show PhotometricInterpretation {_code(photometric) or 'none'}", "export it as PNG")


def _check_decoder(tags: Dataset, path: Path) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    syntax: Any = tags.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        name = _code(str(syntax.name))
        raise DataError(f"no image compression ({name})", where=str(path), mend="export it as PNG") from None
    if not available:
        raise missing_extra(f"a decoder for {syntax.name}", "dicom")


def _code(value: str) -> str:
    """Return a coded value fit for a message: letters, digits and blanks, 40 at most."""
    return "".join(c for c in value if c.isalnum() or c in " _-").strip()[:40]
