"""Invented report sentences: for each finding some that assert it, deny it or doubt it.

``{side}``, ``{degree}`` and ``{place}`` are filled in. Nothing here was taken from a report.
"""

from __future__ import annotations

SIDES = ("left", "right")
DEGREES = ("small", "mild", "moderate", "marked", "slight", "subtle")
PLACES = ("upper zone", "mid zone", "lower zone", "base", "apex", "perihilar region")

POSITIVE: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": (
        "{degree} widening of the mediastinum towards the {side}.",
        "The mediastinum appears wide with {degree} displacement to the {side}.",
    ),
    "Cardiomegaly": (
        "There is {degree} cardiomegaly.",
        "{degree} enlargement of the heart, more so on the {side}.",
        "The heart is enlarged to a {degree} extent.",
    ),
    "Lung Opacity": (
        "A {degree} opacity projects over the {side} {place}.",
        "{degree} hazy opacity in the {side} {place}.",
        "Streaky opacities of {degree} extent are noted in the {side} {place}.",
    ),
    "Lung Lesion": (
        "A {degree} nodule lies in the {side} {place}.",
        "Round lesion of {degree} size in the {side} {place}, a mass has to be considered present.",
    ),
    "Edema": (
        "{degree} pulmonary edema is present, worse on the {side}.",
        "Findings of {degree} interstitial edema.",
    ),
    "Consolidation": (
        "{degree} consolidation of the {side} {place}.",
        "The {side} {place} is consolidated with {degree} volume change.",
    ),
    "Pneumonia": (
        "{degree} pneumonia of the {side} {place}.",
        "The {side} {place} shows {degree} pneumonia.",
    ),
    "Atelectasis": (
        "{degree} atelectasis at the {side} {place}.",
        "Plate-like atelectasis of {degree} extent in the {side} {place}.",
        "{degree} loss of volume with atelectasis of the {side} {place}.",
    ),
    "Pneumothorax": (
        "{degree} pneumothorax on the {side}.",
        "A {side} pneumothorax of {degree} size is seen.",
    ),
    "Pleural Effusion": (
        "{degree} pleural effusion on the {side}.",
        "A {degree} {side} pleural effusion layers along the {place}.",
        "The {side} costophrenic angle is hidden by a {degree} effusion.",
    ),
    "Pleural Other": (
        "{degree} pleural thickening along the {side} {place}.",
        "Pleural plaques of {degree} extent on the {side}.",
    ),
    "Fracture": (
        "Healing fracture of a {side} rib with {degree} offset.",
        "{degree} displaced fracture of the {side} clavicle.",
    ),
    "Support Devices": (
        "A {side} central line ends in the superior caval vein.",
        "Pacemaker in the {side} chest wall with its leads in place.",
        "The endotracheal tube ends {degree} above the carina.",
    ),
}

NEGATIVE: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": ("The mediastinum is of normal width.", "No widening of the mediastinum."),
    "Cardiomegaly": ("The heart is of normal size.", "Heart size is normal.", "No cardiomegaly."),
    "Lung Opacity": ("The lungs are clear.", "No opacity in either lung."),
    "Lung Lesion": ("No nodule or mass.", "No suspicious nodule is seen."),
    "Edema": ("No pulmonary edema.", "There is no edema."),
    "Consolidation": ("No consolidation.", "No focal consolidation on either side."),
    "Pneumonia": ("No evidence of pneumonia.", "No sign of pneumonia."),
    "Atelectasis": ("No atelectasis.", "Both lungs are well inflated without atelectasis."),
    "Pneumothorax": ("No pneumothorax.", "There is no pneumothorax on either side.", "No pneumothorax is seen."),
    "Pleural Effusion": ("No pleural effusion.", "No effusion on either side.", "Both sinuses are free of effusion."),
    "Pleural Other": ("No pleural thickening.",),
    "Fracture": ("No fracture.", "No acute fracture of the ribs."),
    "Support Devices": (),
}

UNCERTAIN: dict[str, tuple[str, ...]] = {
    "Cardiomegaly": ("Heart size is possibly enlarged.",),
    "Lung Opacity": ("Possible {degree} opacity in the {side} {place}.",),
    "Lung Lesion": ("A {degree} nodule in the {side} {place} cannot be excluded.",),
    "Edema": ("Possible {degree} edema.",),
    "Consolidation": ("Possible {degree} consolidation of the {side} {place}.",),
    "Pneumonia": ("The {side} {place} may represent {degree} pneumonia.", "Pneumonia cannot be excluded."),
    "Atelectasis": ("Possible {degree} atelectasis at the {side} {place}.",),
    "Pneumothorax": ("A {degree} {side} pneumothorax cannot be excluded.",),
    "Pleural Effusion": ("Possible {degree} effusion on the {side}.",),
    "Fracture": ("Possible {degree} fracture of a {side} rib.",),
}

CLOSING = (
    "The upper abdomen is unremarkable.",
    "Soft tissues without particularities.",
    "Compared with the film of ___ there is little change.",
    "Degenerative changes of the thoracic spine.",
    "Inspiration is shallow.",
    "The patient is rotated to the {side}.",
)
INDICATIONS = (
    "___ year old patient with cough",
    "___ year old with chest pain, evaluate for ___",
    "Shortness of breath",
    "Fever since ___ days",
    "Check of the line placed on ___",
    "Preoperative film before ___",
)
COMPARISONS = ("___.", "None.", "Film of ___.", "Chest films from ___ and ___.")
EXPLANATIONS = (
    "{evidence} of {degree} extent at the {side} {place} {verb} {finding}.",
    "The {degree} {evidence} on the {side} {verb} {finding} of the {place}.",
)
EVIDENCE = ("shadowing", "blurring", "increased density", "loss of contour", "air bronchograms")
VERBS = ("speaks for", "is in keeping with", "points to")
