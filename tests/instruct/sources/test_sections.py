"""The section parser on invented reports, one for each layout of the real files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from radialog_instruct.records import Sections
from radialog_instruct.sources import sections
from radialog_instruct.sources.sections import parse_report, section_name

HEAD = f"{'':33}FINAL REPORT\n"
CASES = {
    "both sections": (
        f"{HEAD} EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___ with cough.\n \n COMPARISON:  None.\n \n"
        " FINDINGS: \n \n The heart is large.\n No effusion.\n \n IMPRESSION: \n \n Large heart.\n",
        Sections("___ with cough.", "None.", "The heart is large. No effusion.", "Large heart."),
    ),
    "impression only": (f"{HEAD} IMPRESSION:  Nothing acute.\n", Sections(impression="Nothing acute.")),
    "the last section of a name wins": (
        f"{HEAD} FINDINGS:  First reading.\n \n IMPRESSION:  One.\n \n FINDINGS:  Second reading.\n",
        Sections(findings="Second reading.", impression="One."),
    ),
    "an empty one does not win": (
        f"{HEAD} FINDINGS:  Kept.\n \n FINDINGS: \n \n IMPRESSION:  One.\n",
        Sections(findings="Kept.", impression="One."),
    ),
    "no header at all": (
        f"{HEAD} Film of today.\n \n The lungs are clear.\n Heart normal.\n",
        Sections(last_paragraph="The lungs are clear. Heart normal."),
    ),
    "text below the examination": (
        f"{HEAD} EXAMINATION:  Film of the chest.\n \n No change.\n \n Discussed with Dr. ___.\n",
        Sections(last_paragraph="No change. Discussed with Dr. ___."),
    ),
    "text below the comparison": (
        f"{HEAD} COMPARISON:  ___.\n \n Lungs clear.\n",
        Sections(comparison="___.", last_paragraph="Lungs clear."),
    ),
    "addendum above the line": (
        f" ADDENDUM  The line ends in the cava.\n \n {'_' * 70}\n{HEAD} FINDINGS:  Line.\n \n IMPRESSION:  Line in place.\n",
        Sections(findings="Line.", impression="Line in place."),
    ),
    "findings and impression in one": (
        f"{HEAD} FINDINGS AND IMPRESSION:  Clear lungs.\n",
        Sections(impression="Clear lungs."),
    ),
    "a title of views is the findings": (
        f"{HEAD} PA AND LATERAL VIEWS OF THE CHEST:  Clear lungs.\n \n CONCLUSION:  Normal.\n",
        Sections(findings="Clear lungs.", impression="Normal."),
    ),
    "misspelt headers": (
        f"{HEAD} NDICATION:  Fever.\n \n FINDNGS:  Opacity.\n \n IMPRESSON:  Opacity on the left.\n",
        Sections(indication="Fever.", findings="Opacity.", impression="Opacity on the left."),
    ),
    "reason for exam is the indication": (f"{HEAD} REASON FOR EXAM:  Pain.\n", Sections(indication="Pain.")),
    "a colon in a sentence is no header": (
        f"{HEAD} FINDINGS:  Two lines are seen: one left.\nCVL: not a header without its blank.\n",
        Sections(findings="Two lines are seen: one left. CVL: not a header without its blank."),
    ),
    "a header in the line of a header is text": (
        f"{HEAD} IMPRESSION:  AP VIEW: Clear lungs.\n",
        Sections(impression="AP VIEW: Clear lungs."),
    ),
    "windows line ends": (
        " FINDINGS:  Clear.\r\n \r\n IMPRESSION:  Normal.\r\n".join(("\r\n", "")),
        Sections(findings="Clear.", impression="Normal."),
    ),
    "empty": ("", Sections()),
    "blanks": (" \n \n \n", Sections()),
}


@pytest.mark.parametrize("name", CASES)
def test_each_layout(name: str) -> None:
    text, expected = CASES[name]
    assert parse_report(text) == expected


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("FINDINGS", "findings"),
        ("FRONTAL UPRIGHT VIEW", "findings"),
        ("PORTABLE CHEST", "findings"),
        ("OLD IMPRESSION (DICTATED)", "impression"),
        ("PFI", "history"),
        ("COMPARISION", "comparison"),
        ("RECOMMENDATION(S)", "recommendations"),
        ("TECHNIQUE", "technique"),
        ("DOSE", "dose"),
    ],
)
def test_header_names(header: str, name: str) -> None:
    assert section_name(header) == name


def test_reports_set_by_hand_are_found_by_the_hash_of_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "overrides.csv"
    with table.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("study", "section", "start", "end"))
        writer.writerow((sections._key("s59999901"), "", 10, 14))
        writer.writerow((sections._key("59999902"), "technique", "", ""))
        writer.writerow((sections._key("59999903"), "", 0, 0))
    monkeypatch.setattr(sections, "section_overrides_file", lambda: table)
    sections._overrides.cache_clear()
    try:
        text = "0123456789text and more"
        assert parse_report(text, "s59999901") == parse_report(text, "59999901") == Sections(last_paragraph="text")
        text = f"{HEAD} TECHNIQUE:  Clear lungs.\n \n FINDINGS:  Wrong place.\n"
        assert parse_report(text, "59999902") == Sections(last_paragraph="Clear lungs.")
        assert parse_report(text, "59999903") == Sections()
        assert parse_report(text, "59999904").findings == parse_report(text).findings == "Wrong place."
    finally:
        sections._overrides.cache_clear()


def test_the_shipped_table_holds_all_published_overrides_and_no_id() -> None:
    from radialog_instruct.assets import section_overrides_file

    with section_overrides_file().open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len({row["study"] for row in rows}) == len(rows) == 54
    assert sum(bool(row["section"]) for row in rows) == 23
    assert sum((row["start"], row["end"]) == ("0", "0") for row in rows) == 8
    assert all(len(row["study"]) == 16 for row in rows)
