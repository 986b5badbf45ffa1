"""What a DICOM file's tags say against taking it for a frontal chest X-ray."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

NOTE_TAGS = (
    *("Modality", "BodyPartExamined", "SeriesDescription", "StudyDescription", "ViewPosition", "PatientOrientation"),
)
"""The tags the notes are made from; of the two descriptions only known words are ever repeated."""

_RADIOGRAPHS = ("CR", "DX", "RF", "RG", "PX", "XR", "OT", "SC")
_CHEST = re.compile(r"CHEST|THORA|LUNG|PULMO|\bCXR\b|\bRIBS?\b|STERN|CLAVIC|HEART")
_ELSEWHERE = re.compile(
    r"\b(ABDOMEN|ANKLE|ARM|BREAST|CALCANEUS|CERVICAL SPINE|CSPINE|ELBOW|EXTREMITY|FEMUR|FIBULA|FINGER|FOOT|FOREARM|HAND"
    r"|HEAD|HIP|HUMERUS|JAW|KNEE|LEG|LSPINE|LUMBAR SPINE|NECK|PATELLA|PELVIS|RADIUS|SACRUM|SCAPULA|SHOULDER|SKULL|TIBIA"
    r"|TOE|ULNA|WRIST)\b"
)
_LATERAL = ("LL", "RL", "LATERAL", "LAT", "LLD", "RLD", "XTL")


def notes_of(tags: Dataset) -> tuple[str, ...]:
    """Return the notes; silent tags give none.

    Args:
        tags: At least ``NOTE_TAGS``, where the file has them.
    """
    notes = []
    modality, part = _coded(tags, "Modality"), _coded(tags, "BodyPartExamined")
    if modality and modality not in _RADIOGRAPHS:
        notes.append(f"Modality is {modality}, not a radiograph")
    if part:
        if not _CHEST.search(part):
            notes.append(f"BodyPartExamined is {part}, not a chest")
    else:
        notes += _from_descriptions(tags)
    view = _coded(tags, "ViewPosition")
    if view in _LATERAL:
        notes.append(f"lateral view (ViewPosition {view})")
    orientation = [str(value) for value in tags.get("PatientOrientation") or ()]
    if orientation and orientation[0] == "R" and view not in _LATERAL:
        notes.append("PatientOrientation says that left and right are exchanged against the usual display")
    return tuple(notes)


def is_lateral(notes: tuple[str, ...]) -> bool:
    """Tell whether an image's notes say that it is a lateral view."""
    return any(note.startswith("lateral view") for note in notes)


def _from_descriptions(tags: Dataset) -> list[str]:
    for name in ("SeriesDescription", "StudyDescription"):
        text = str(tags.get(name) or "").upper()
        found = _ELSEWHERE.search(text)
        if _CHEST.search(text):
            break
        if found:
            return [f"{name} says {found.group()}, not a chest"]
    return []


def _coded(tags: Dataset, name: str) -> str:
    """Return a coded value in capitals; anything longer than a code is no code and stays unread."""
    value = str(tags.get(name) or "").strip().upper()
    return value if re.fullmatch(r"[A-Z0-9 _]{1,16}", value) else ""
