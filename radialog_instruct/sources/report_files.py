"""Where MIMIC-CXR's reports lie: a folder tree, or the zip file as it is downloaded, read without unpacking."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from radialog_instruct.errors import DataError

REPORTS_ZIP = "mimic-cxr-reports.zip"
_MEMBER = re.compile(r"(?:[A-Za-z0-9._-]+/)?files/p[0-9]{2}/p([0-9]{8})/s([0-9]{8})\.txt")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
MAX_REPORT_BYTES = 1 << 20
"""No report is near one mebibyte; a member that claims more is a bomb or damaged."""


class ReportFiles(Protocol):
    """Finds the text of a study's report."""

    rejected: Counter[str]

    def read(self, subject: int, study: int) -> bytes | None:
        """Return a report's bytes, or None where there is none.

        Raises:
            DataError: If the file is damaged.
        """
        ...

    def inputs(self) -> tuple[Path, ...]:
        """Return the files the reports come from."""
        ...


class ReportTree:
    """Reports unpacked to ``files/p10/p10000000/s50000000.txt``.

    Args:
        folder: The folder that holds ``files``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rejected: Counter[str] = Counter()

    def read(self, subject: int, study: int) -> bytes | None:
        """Return a report's bytes, or None where there is none."""
        path = self.folder / "files" / f"p{subject // 1_000_000}" / f"p{subject}" / f"s{study}.txt"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"cannot read: {error.strerror}", where=str(path), mend="check its permissions") from error

    def inputs(self) -> tuple[Path, ...]:
        """Return every report file."""
        return tuple(sorted((self.folder / "files").glob("p*/p*/s*.txt")))


class ReportZip:
    """Reports inside ``mimic-cxr-reports.zip``.

    The archive's directory is kept as arrays, 29 bytes a report, so that every process can hold one; members are read
    by their offset and checked against their checksum. Nothing is ever unpacked to disk, and names with unexpected
    parts, such as ``..``, are rejected and counted.

    Args:
        path: The zip file.

    Raises:
        DataError: If it is damaged or holds a report twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rejected: Counter[str] = Counter()
        self._handle: IO[bytes] | None = None
        try:
            with zipfile.ZipFile(path) as archive:
                self._index(archive)
        except (zipfile.BadZipFile, OSError, struct.error) as error:
            raise DataError(f"the zip file is damaged ({error})", where=str(path), mend="fetch it again") from error

    def _index(self, archive: zipfile.ZipFile) -> None:
        found: list[tuple[int, int, int, int, int, int]] = []
        for info in archive.infolist():
            if info.is_dir():
                continue
            match = _MEMBER.fullmatch(info.filename)
            if match is None or match[1][:2] != info.filename.rpartition("/")[0].split("/")[-2][1:]:
                if info.filename.endswith(".txt"):
                    self.rejected["zip member whose path is not a report's"] += 1
            elif info.compress_type not in (_STORED, _DEFLATED) or info.flag_bits & 1:
                self.rejected["zip member encrypted or packed in an unknown way"] += 1
            elif info.file_size > MAX_REPORT_BYTES:
                self.rejected["zip member too large for a report"] += 1
            else:
                sizes = info.header_offset, info.compress_size, info.CRC, info.compress_type
                found.append((int(match[2]), int(match[1]), *sizes))
        table = np.array(found, dtype=np.int64).reshape(-1, 6)
        table = table[np.argsort(table[:, 0], kind="stable")]
        self._studies = table[:, 0].astype(np.int32)
        twice = np.flatnonzero(self._studies[1:] == self._studies[:-1])
        if len(twice):
            raise DataError(f"s{self._studies[twice[0]]}.txt occurs twice", where=str(self.path), mend="fetch it again")
        self._subjects: NDArray[np.int32] = table[:, 1].astype(np.int32)
        self._offsets: NDArray[np.int64] = table[:, 2].copy()
        self._sizes: NDArray[np.int32] = table[:, 3].astype(np.int32)
        self._checksums: NDArray[np.uint32] = table[:, 4].astype(np.uint32)
        self._methods: NDArray[np.int8] = table[:, 5].astype(np.int8)

    def __len__(self) -> int:
        """Return the number of reports."""
        return len(self._studies)

    def read(self, subject: int, study: int) -> bytes | None:
        """Return a report's bytes, or None where there is none.

        Raises:
            DataError: If the member is damaged.
        """
        at = int(np.searchsorted(self._studies, np.int32(study)))  # a Python int would copy the whole array
        if at == len(self._studies) or self._studies[at] != study or self._subjects[at] != subject:
            return None
        if self._handle is None:
            self._handle = self.path.open("rb")
        try:
            return self._member(self._handle, at)
        except (OSError, zlib.error, struct.error, ValueError) as error:
            where = f"{self.path}: s{study}.txt"
            raise DataError(f"the member is damaged ({error})", where=where, mend="fetch the zip file again") from error

    def _member(self, handle: IO[bytes], at: int) -> bytes:
        offset, size = int(self._offsets[at]), int(self._sizes[at])
        handle.seek(offset)
        # Most local headers end within this many bytes, so one read gets header and member.
        block = handle.read(_LOCAL_HEADER.size + 128 + size)
        header = _LOCAL_HEADER.unpack_from(block)
        if header[0] != b"PK\x03\x04":
            raise ValueError("no local header at its offset")
        start = _LOCAL_HEADER.size + header[-2] + header[-1]
        packed = block[start : start + size]
        if len(packed) < size:
            handle.seek(offset + start)
            packed = handle.read(size)
        if self._methods[at] == _STORED:
            data = packed
        else:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            data = inflater.decompress(packed, MAX_REPORT_BYTES)
        if zlib.crc32(data) != int(self._checksums[at]):
            raise ValueError("its checksum does not match")
        return data

    def inputs(self) -> tuple[Path, ...]:
        """Return the zip file."""
        return (self.path,)

    def __getstate__(self) -> dict[str, object]:
        """Leave the open file behind: a worker process opens its own."""
        return {**self.__dict__, "_handle": None}


def find_reports(reports: Path | None, root: Path) -> ReportFiles:
    """Find the reports in the place given, or else below MIMIC-CXR-JPG's root.

    Args:
        reports: The zip file, a folder that holds it, or a folder that holds ``files``; None looks below the root.
        root: MIMIC-CXR-JPG's root.

    Raises:
        DataError: If there are no reports.
    """
    place = reports if reports is not None else root
    if place.is_file():
        return ReportZip(place)
    if (place / REPORTS_ZIP).is_file():
        return ReportZip(place / REPORTS_ZIP)
    if next((place / "files").glob("p*/p*/s*.txt"), None) is not None:
        return ReportTree(place)
    raise DataError(
        f"neither {REPORTS_ZIP} nor files/p10/p10000000/s50000000.txt found",
        where=str(place),
        mend="MIMIC-CXR-JPG holds no reports: give MIMIC-CXR's zip file or folder with --reports",
    )
