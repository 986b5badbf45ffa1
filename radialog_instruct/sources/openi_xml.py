"""Reads Open-i's report files: one XML document a study, in a gzipped tar archive or in a folder."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from radialog_instruct.errors import DataError
from radialog_instruct.records import Sections
from radialog_instruct.sources.base import fold

_ID = re.compile(r"[0-9A-Za-z_-]+")
"""An id becomes part of a file name, so it holds no separator and no dot."""


@dataclass(frozen=True, slots=True)
class XmlReport:
    """One report with the ids of its images, in the document's order."""

    study_id: str
    image_ids: tuple[str, ...]
    sections: Sections


def read_xml_reports(source: Path, rejected: Counter[str]) -> Iterator[XmlReport]:
    """Yield the reports of an archive or a folder.

    Args:
        source: The ``.tgz`` file, or a folder of ``.xml`` files.
        rejected: Counts documents that cannot be used, by reason.

    Raises:
        DataError: If the archive is damaged or two documents have one id.
    """
    seen: dict[str, str] = {}
    for name, document in _documents(source):
        report = _parse(document)
        if isinstance(report, str):
            rejected[report] += 1
            continue
        if report.study_id in seen:
            first = seen[report.study_id]
            raise DataError(f"{report.study_id} stands in {first} and {name}", where=str(source), mend="remove one")
        seen[report.study_id] = name
        yield report


def _documents(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted(source.glob("*.xml")):
            yield path.name, path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                handle = archive.extractfile(member) if member.name.endswith(".xml") else None
                if handle is not None:
                    yield member.name, handle.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"the archive is damaged ({error})", where=str(source), mend="fetch the file again") from error


def _parse(document: bytes) -> XmlReport | str:
    """Return the report of a document, or the reason why it has none."""
    try:
        root = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        return "document is not well-formed XML"
    identifier = root.find(".//uId")
    study_id = identifier.get("id", "") if identifier is not None else ""
    if not study_id:
        return "document without a uId"
    if not _ID.fullmatch(study_id):
        return "document whose uId is not an id"
    texts = {node.get("Label"): fold("".join(node.itertext())) for node in root.iter("AbstractText")}
    labels = ("INDICATION", "COMPARISON", "FINDINGS", "IMPRESSION")
    images = tuple(node.get("id", "") for node in root.iter("parentImage") if node.get("id"))
    if not all(_ID.fullmatch(image) for image in images):
        return "document with an image id that is not an id"
    return XmlReport(study_id, images, Sections(*(texts.get(label) for label in labels)))
