"""Composes the demonstration reports: synthetic text that fits public image labels, not a radiologist's.

Which wording of a sentence is used, and whether an optional normal statement is made, is chosen by a hash of the study.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from radialog_instruct.annotations.mimic_nle import NLE_FINDINGS
from radialog_instruct.context import split_sentences
from radialog_instruct.findings import POSITIVE, UNCERTAIN, index_of
from radialog_instruct.ids import pick
from radialog_instruct.labeling import rules
from radialog_instruct.prompts import PromptLibrary, default_prompts
from radialog_instruct.records import Explanation, Sections

BANK = "demo/sentences"
POSSIBLE_PNEUMONIA = "Pneumonia possible"
"""Marks a study whose public label names a pneumonia that the image need not show."""

_LUNG = (
    ("Lung Opacity", "lung_opacity"),
    ("Consolidation", "consolidation"),
    ("Edema", "edema"),
    ("Pneumonia", "pneumonia"),
    (POSSIBLE_PNEUMONIA, "pneumonia_possible"),
    ("Fibrosis", "fibrosis"),
    ("Atelectasis", "atelectasis"),
    ("Nodule", "lung_lesion"),
    ("Mass", "mass"),
    ("Emphysema", "emphysema"),
    ("Hernia", "hernia"),
)
_IMPRESSION = {
    "Enlarged Cardiomediastinum": "widened mediastinum",
    "Fracture": "rib fracture",
    "Hernia": "hiatal hernia",
    "Lung Opacity": "pulmonary opacities",
    "Fibrosis": "pulmonary fibrosis",
    "Nodule": "pulmonary nodule",
    "Mass": "pulmonary mass",
    "Pleural Other": "pleural thickening",
    "Edema": "pulmonary edema",
    POSSIBLE_PNEUMONIA: "possible viral pneumonia",
}
_IMPRESSION_ORDER = (
    "Cardiomegaly",
    "Enlarged Cardiomediastinum",
    *(name for name, _ in _LUNG),
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
)


def compose_report(study_id: str, present: Iterable[str]) -> Sections:
    """Compose findings and impression.

    Args:
        study_id: The study, which decides between wordings.
        present: What is present: names of the 14 classes, or of NIH's labels where these say more (Nodule, Mass,
            Fibrosis, Emphysema, Hernia), or ``POSSIBLE_PNEUMONIA``.
    """
    found = frozenset(present)
    sentences = [
        _say(study_id, "cardiomegaly" if "Cardiomegaly" in found else "heart_normal"),
        *_mediastinum(study_id, found),
        *([_say(study_id, block) for name, block in _LUNG if name in found] or [_say(study_id, "lungs_clear")]),
        *_pleura(study_id, found),
        *_bones(study_id, found),
        *([_say(study_id, "support_devices")] if "Support Devices" in found else []),
    ]
    return Sections(findings=" ".join(sentences), impression=_impression(study_id, found))


def explain(study_id: str, findings: str) -> tuple[Explanation, ...]:
    """Return what in a findings section speaks for a finding: explanations of the collection's own.

    An explanation is the sentence that names the finding; one that begins with "This" is quoted with the sentence that
    it refers to.

    Args:
        study_id: The study.
        findings: Its findings section.
    """
    sentences = split_sentences(findings)
    found = []
    for number, sentence in enumerate(sentences):
        values = rules.label(sentence)
        names = tuple(n for n in NLE_FINDINGS if values[index_of(n)] in (POSITIVE, UNCERTAIN))
        if names:
            text = f"{sentences[number - 1]} {sentence}" if number and sentence.startswith("This ") else sentence
            found.append(Explanation(f"{study_id}#{number}", names, text))
    return tuple(found)


def _mediastinum(study_id: str, found: frozenset[str]) -> list[str]:
    if "Enlarged Cardiomediastinum" in found:
        return [_say(study_id, "enlarged_cardiomediastinum")]
    return [_say(study_id, "mediastinum_normal")] if _sometimes(study_id, "mediastinum") else []


def _pleura(study_id: str, found: frozenset[str]) -> list[str]:
    present = [
        _say(study_id, block)
        for name, block in (
            ("Pneumothorax", "pneumothorax"),
            ("Pleural Effusion", "pleural_effusion"),
            ("Pleural Other", "pleural_other"),
        )
        if name in found
    ]
    if not found & {"Pneumothorax", "Pleural Effusion"}:
        return [*present, _say(study_id, "pleura_normal")]
    if "Pneumothorax" not in found:
        return [*present, _say(study_id, "no_pneumothorax")]
    return present if "Pleural Effusion" in found else [*present, _say(study_id, "no_effusion")]


def _bones(study_id: str, found: frozenset[str]) -> list[str]:
    if "Fracture" in found:
        return [_say(study_id, "fracture")]
    return [_say(study_id, "bones_normal")] if _sometimes(study_id, "bones") else []


def _impression(study_id: str, found: frozenset[str]) -> str:
    names = [_IMPRESSION.get(name, name.lower()) for name in _IMPRESSION_ORDER if name in found]
    if not names:
        return _say(study_id, "impression_normal")
    *first, last = names
    text = f"{', '.join(first)} and {last}" if first else last
    return default_prompts().render(BANK, "impression_list_v01", names=text)


def _sometimes(study_id: str, what: str) -> bool:
    return pick(2, 0, "demo-text", study_id, what) == 1


def _say(study_id: str, sentence: str) -> str:
    variants = _variants(default_prompts(), sentence)
    return default_prompts().render(BANK, variants[pick(len(variants), 0, "demo-text", study_id, sentence)])


@cache
def _variants(prompts: PromptLibrary, sentence: str) -> tuple[str, ...]:
    return tuple(sorted(name for name in prompts.blocks(BANK) if name.startswith(f"{sentence}_v")))
