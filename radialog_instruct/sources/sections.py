"""Splits a MIMIC-CXR report into its sections.

The rules are those of the public parser of MIMIC-CXR's authors (MIT-LCP/mimic-cxr, ``txt/section_parser.py`` and
``txt/create_section_files.py``), written anew: a header is a line of capitals and a colon, its name is normalised, the
last section of a name wins, and a report without findings and impression has a last paragraph. Where the public parser
is at fault ours differs, on purpose: it takes the misspelt header "NDICATION" for an impression, we for an indication.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from radialog_instruct.assets import section_overrides_file
from radialog_instruct.records import Sections

_HEADER = re.compile(r"\n ([A-Z ()/,-]+):\s")
_PARAGRAPH = "\n \n"

_NAMES = {
    "indication": ("indication", "reason for examination", "reason for exam", "clinical indication"),
    "history": ("history", "clinical history", "clinical information", "patient history", "pfi"),
    "comparison": ("comparison", "comparisons", "reference exam", "comparison exam", "comparison film"),
    "findings": ("findings", "finding", "chest, two views", "reference findings"),
    "impression": (
        "impression",
        "conclusion",
        "findings and impression",
        "findings/impression",
        "findings/ impression",
    ),
    "examination": ("examination", "exam", "type of examination"),
    "technique": ("technique",),
    "recommendations": ("recommendations", "recommendation", "recommendation(s)"),
    "wet read": ("wet read", "wetread"),
    "notification": ("notification",),
    "addendum": ("addendum",),
    "comment": ("comment",),
    "date": ("date",),
}
_MISSPELT = {
    "indication": ("idication", "ndication"),
    "comparison": ("comparision", "comparsion", "comparrison", "comparisions"),
    "findings": ("findins", "findindgs", "findgings", "findngs", "findnings", "finidngs"),
    "impression": (
        *("impresson", "imprression", "imoression", "impressoin", "imprssion", "impresion", "imperssion"),
        *("mpression", "impession"),
    ),
}
_NORMAL_NAME = {name: normal for table in (_NAMES, _MISSPELT) for normal, names in table.items() for name in names}
_MAIN_NAMES = ("impression", "findings", "history", "comparison", "addendum")
_VIEW_TITLE = re.compile(
    "chest|portable|pa and lat|lateral and (?:pa|ap)|ap and lateral|frontal (?:and|view|upright|semi-upright)|two views"
    "|(?:pa|ap|one|lateral) view|bone window|ribs"
)
"""A header that names the examination's views stands above what was found."""


@dataclass(frozen=True, slots=True)
class _Override:
    """How a badly laid out report is read: one named section of it, or the characters from start to end."""

    section: str | None
    start: int
    end: int


def parse_report(text: str, study_id: str | None = None) -> Sections:
    """Return the sections of a report.

    Args:
        text: The report file's text, with its leading blanks: they tell a header from a sentence.
        study_id: The study's number; it finds the few reports whose sections are set by hand. None skips that table.

    Returns:
        Impression, findings, last paragraph, comparison and indication, each folded to one line and None where absent.
        A report set by hand has nothing but a last paragraph, or nothing at all.
    """
    text = text.replace("\r\n", "\n")
    override = _overrides().get(_key(study_id)) if study_id is not None else None
    if override is not None and override.section is None:
        return Sections(last_paragraph=_folded(text[override.start : override.end]))
    found = _split(text)
    if override is not None:
        return Sections(last_paragraph=_folded(found.get(override.section or "", "")))
    return Sections(
        indication=_folded(found.get("indication", "")),
        comparison=_folded(found.get("comparison", "")),
        findings=_folded(found.get("findings", "")),
        impression=_folded(found.get("impression", "")),
        last_paragraph=_folded(found.get("last_paragraph", "")),
    )


def section_name(header: str) -> str:
    """Return the normal name of a section header, or the header itself in lower case where it has none."""
    name = header.lower().strip()
    normal = _NORMAL_NAME.get(name)
    if normal is not None:
        return normal
    for main in _MAIN_NAMES:
        if main in name:
            return main
    return "findings" if _VIEW_TITLE.search(name) else name


def _split(text: str) -> dict[str, str]:
    """Return the last section of every name; empty findings and impressions do not count."""
    header = _HEADER.search(text)
    last = "preamble"
    found = {last: text[: header.start(1)] if header else text}
    while header is not None:
        start = header.end()
        # A header right behind a header, in the same line, is text.
        newline = text.find("\n", start)
        following = _HEADER.search(text, newline if newline >= 0 else start)
        name = section_name(header[1])
        body = text[start : following.start() if following else len(text)]
        if name not in ("findings", "impression") or not (not body or body.isspace()):
            found[name] = body
            last = name
        header = following
    if "findings" not in found and "impression" not in found:
        # Dictation without these headers: what follows the first paragraph of the last section is the report itself.
        found[last], separator, rest = found[last].partition(_PARAGRAPH)
        if separator:
            found["last_paragraph"] = rest
    return found


def _folded(text: str) -> str | None:
    return " ".join(text.split()) or None


def _key(study_id: str) -> str:
    return blake2b(study_id.removeprefix("s").encode(), digest_size=8).hexdigest()


@cache
def _overrides() -> dict[str, _Override]:
    # The table names its studies by hash: no id of a credentialed study enters this project.
    with section_overrides_file().open(encoding="utf-8", newline="") as handle:
        return {
            row["study"]: _Override(row["section"] or None, int(row["start"] or 0), int(row["end"] or 0))
            for row in csv.DictReader(handle)
        }
