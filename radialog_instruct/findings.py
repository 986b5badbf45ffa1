"""The 14 CheXpert findings: their order, their other names, and what a label's value means.

Order and names follow CheXpert (Irvin et al., 2019) as RaDialog uses them. CheXbert emits another order with
"No Finding" last, so labels are mapped by name everywhere and never by index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"

FINDINGS: tuple[str, ...] = (
    NO_FINDING,
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    SUPPORT_DEVICES,
)
"""The 14 classes in project order."""

FIVE_FINDINGS: tuple[str, ...] = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The five-class subset the field reports beside all 14."""

POSITIVE: Literal[1] = 1
NEGATIVE: Literal[0] = 0
UNCERTAIN: Literal[-1] = -1
"""Label values; a blank (the finding is not mentioned) is ``None``."""

LabelValue = Literal[-1, 0, 1] | None
Labels = tuple[LabelValue, ...]
"""Fourteen label values in the order of ``FINDINGS``."""

UncertainPolicy = Literal["negative", "positive"]
"""How an uncertain label counts in scoring: RaDialog takes negative, f1chexbert and RadEval take positive."""

NO_COMMON_FINDINGS = "no common findings"
"""The findings text of a study without a positive class."""

_ALIASES = {
    "no findings": NO_FINDING,
    "airspace opacity": "Lung Opacity",
    "enlarged cardiac silhouette": "Cardiomegaly",
    "effusion": "Pleural Effusion",
    "support device": SUPPORT_DEVICES,
}
_BY_NAME = {name.lower(): name for name in FINDINGS} | _ALIASES
_INDEX = {name: index for index, name in enumerate(FINDINGS)}


def canonical(name: str) -> str:
    """Return the project's name of a finding, whatever its case, separators or public alias.

    Args:
        name: For example ``"pleural_effusion"``, ``"Airspace Opacity"`` or ``"No Findings"``.

    Raises:
        KeyError: If the name is none of the 14 classes.
    """
    key = re.sub(r"[\s_]+", " ", name).strip().lower()
    return _BY_NAME[key]


def index_of(name: str) -> int:
    """Return the position of a canonical finding name in ``FINDINGS``.

    Raises:
        KeyError: If the name is not canonical.
    """
    return _INDEX[name]


def make_labels(values: Mapping[str, LabelValue]) -> Labels:
    """Arrange label values given by name into project order; findings left out are blank.

    Raises:
        KeyError: If a name is none of the 14 classes.
        ValueError: If a value is none of 1, 0, -1, None.
    """
    row: list[LabelValue] = [None] * len(FINDINGS)
    for name, value in values.items():
        if value not in (POSITIVE, NEGATIVE, UNCERTAIN, None):
            raise ValueError(f"label of {name} is {value!r}, expected 1, 0, -1 or None")
        row[_INDEX[canonical(name)]] = value
    return tuple(row)


def positives(labels: Labels) -> tuple[str, ...]:
    """Return the names of the positive classes, in project order."""
    return tuple(name for name, value in zip(FINDINGS, labels, strict=True) if value == POSITIVE)


def binarise(labels: Labels, uncertain: UncertainPolicy = "negative") -> tuple[int, ...]:
    """Turn labels into 14 zeros and ones for scoring; a blank is always 0.

    Args:
        labels: The labels.
        uncertain: Whether an uncertain finding counts as 0 (``"negative"``) or 1 (``"positive"``).
    """
    marked = (POSITIVE, UNCERTAIN) if uncertain == "positive" else (POSITIVE,)
    return tuple(int(value in marked) for value in labels)


def findings_text(names: Iterable[str]) -> str:
    """Write positive findings as the lower-case list that stands in the published prompt layout.

    "No Finding" is left out when any other class than Support Devices is positive; no positive class at all reads
    ``"no common findings"``.

    Args:
        names: Canonical names of the positive classes, in any order.
    """
    present = sorted(set(names), key=_INDEX.__getitem__)
    if any(name not in (NO_FINDING, SUPPORT_DEVICES) for name in present):
        present = [name for name in present if name != NO_FINDING]
    return ", ".join(present).lower() or NO_COMMON_FINDINGS


def parse_findings_text(text: str) -> tuple[str, ...]:
    """Read a findings list back into canonical names; the inverse of ``findings_text`` but for dropped "No Finding".

    Raises:
        KeyError: If an element is none of the 14 classes.
    """
    body = text.strip().rstrip(".").lower()
    if body in ("", NO_COMMON_FINDINGS):
        return ()
    return tuple(sorted({canonical(part) for part in body.split(",")}, key=_INDEX.__getitem__))
