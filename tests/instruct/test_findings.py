from __future__ import annotations

import pytest

from radialog_instruct.findings import (
    FINDINGS,
    binarise,
    canonical,
    findings_text,
    make_labels,
    parse_findings_text,
    positives,
)

CHEXBERT_ORDER = (
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
    "Support Devices",
    "No Finding",
)


def test_labels_from_chexberts_order_are_mapped_by_name() -> None:
    row = make_labels({name: 1 if name == "No Finding" else 0 for name in CHEXBERT_ORDER})
    assert FINDINGS[0] == "No Finding"
    assert row[0] == 1
    assert set(row[1:]) == {0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("pleural_effusion", "Pleural Effusion"),
        ("Airspace Opacity", "Lung Opacity"),
        ("No Findings", "No Finding"),
        ("  support   devices ", "Support Devices"),
    ],
)
def test_public_aliases_have_one_name(given: str, expected: str) -> None:
    assert canonical(given) == expected


def test_an_unknown_name_or_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        canonical("hernia")
    with pytest.raises(ValueError, match="Edema is 2"):
        make_labels({"Edema": 2})  # type: ignore[dict-item]


def test_uncertain_and_blank_follow_the_policy() -> None:
    labels = make_labels({"Edema": -1, "Pneumonia": 1, "Fracture": 0})
    radialog, f1chexbert = binarise(labels), binarise(labels, "positive")
    at = FINDINGS.index
    assert (radialog[at("Edema")], f1chexbert[at("Edema")]) == (0, 1)
    assert radialog[at("Pneumonia")] == f1chexbert[at("Pneumonia")] == 1
    assert sum(radialog) == 1
    assert sum(f1chexbert) == 2
    assert positives(labels) == ("Pneumonia",)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), "no common findings"),
        (("No Finding",), "no finding"),
        (("No Finding", "Support Devices"), "no finding, support devices"),
        (("No Finding", "Edema"), "edema"),
        (("Pleural Effusion", "Cardiomegaly"), "cardiomegaly, pleural effusion"),
    ],
)
def test_findings_text_of_the_published_layout(names: tuple[str, ...], text: str) -> None:
    assert findings_text(names) == text
    assert parse_findings_text(text) == tuple(
        n for n in FINDINGS if n in names and (n != "No Finding" or n.lower() in text)
    )
