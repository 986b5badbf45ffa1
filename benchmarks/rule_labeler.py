"""The rule labeler: F1 against the MeSH-derived gold and Rad-ReStruct, on halves of the reports; and its speed.

python benchmarks/rule_labeler.py SHARED_DATA benchmarks/results/rule_labeler.json [--rad-restruct DIR] [--errors CLASS]

Reports are split in halves by a hash of their id. The rules were developed on the half "develop" alone; the half
"held out" is for reporting. Speed is measured on one core with the sentence cache off.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from machine import describe

from radialog_instruct.findings import FINDINGS, Labels
from radialog_instruct.labeling import rules
from radialog_instruct.sources import open_source

GOLD_CLASSES = {
    "Cardiomegaly": ("Cardiomegaly",),
    "Edema": ("Edema",),
    "Consolidation": ("Consolidation",),
    "Pneumonia": ("Pneumonia",),
    "Atelectasis": ("Atelectasis",),
    "Pneumothorax": ("Pneumothorax",),
    "Pleural Effusion": ("Effusion",),
    "Pleural Other": ("Pleural_Thickening",),
    "Lung Lesion": ("Nodule", "Mass"),
    "No Finding": ("normal",),
}
"""Finding -> columns of the gold that mean it; Infiltration and Fibrosis are narrower than Lung Opacity: left out."""
IN_MICRO = tuple(name for name in GOLD_CLASSES if name != "No Finding")
"""No Finding is reported and not averaged: the gold's "normal" is a code of the whole examination."""
RESTRUCT_PATHS = {
    "Cardiomegaly": ("cardiovascular system_diseases_cardiomegaly",),
    "Consolidation": ("lung_signs_consolidation",),
    "Atelectasis": ("lung_diseases_pulmonary atelectasis",),
    "Pneumonia": ("lung_diseases_pneumonia",),
    "Edema": ("lung_diseases_pulmonary edema",),
    "Pneumothorax": ("pleura_diseases_pneumothorax", "pleura_diseases_hydropneumothorax"),
    "Pleural Effusion": ("pleura_diseases_pleural effusion", "pleura_diseases_hydropneumothorax"),
    "Pleural Other": ("pleura_signs_thickening",),
    "Fracture": ("skeletal system_diseases_fractures, bone",),
    "Lung Lesion": ("lung_diseases_nodule", "lung_diseases_mass", "thorax_diseases_nodule", "thorax_diseases_mass"),
    "Lung Opacity": ("lung_signs_opacity", "lung_diseases_infiltrate", "lung_signs_airspace disease"),
}


def is_develop(study_id: str) -> bool:
    """Tell whether a report belongs to the half the rules are developed on."""
    return blake2b(f"rules|{study_id}".encode(), digest_size=8).digest()[0] % 2 == 0


def scores(
    truth: Mapping[str, frozenset[str]], found: Mapping[str, Labels], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return counts and F1 by class, and micro and macro over ``IN_MICRO``."""
    table: dict[str, Any] = {}
    sums = [0, 0, 0]
    for name in classes:
        index = FINDINGS.index(name)
        said = {study for study, labels in found.items() if study in truth and labels[index] == 1}
        true = {study for study in found if study in truth and name in truth[study]}
        counts = len(said & true), len(said - true), len(true - said)
        table[name] = row(*counts)
        if name != "No Finding":
            sums = [a + b for a, b in zip(sums, counts, strict=True)]
    averaged = [table[name]["f1"] for name in classes if name != "No Finding"]
    table["micro"] = row(*sums)
    table["macro_f1"] = round(sum(averaged) / len(averaged), 4)
    return table


def row(tp: int, fp: int, fn: int) -> dict[str, float]:
    """Return precision, recall and F1 of counts."""
    return {
        "precision": round(tp / max(tp + fp, 1), 4),
        "recall": round(tp / max(tp + fn, 1), 4),
        "f1": round(2 * tp / max(2 * tp + fp + fn, 1), 4),
        "support": tp + fn,
    }


def read_gold(path: Path) -> dict[str, frozenset[str]]:
    """Read the gold: report -> classes."""
    with path.open(encoding="utf-8", newline="") as handle:
        return {
            entry["filename"]: frozenset(
                name for name, columns in GOLD_CLASSES.items() if any(entry[column] == "1" for column in columns)
            )
            for entry in csv.DictReader(handle)
        }


def read_restruct(root: Path, folder: Path) -> dict[str, frozenset[str]]:
    """Read Rad-ReStruct's named findings: report -> classes."""
    truth = {}
    for study in open_source("iu-xray", root, rad_restruct=folder).studies():
        if study.structured is not None:
            said = {q.path for q in study.structured.questions if q.is_binary and q.answers == ("yes",)}
            truth[study.study_id] = frozenset(n for n, paths in RESTRUCT_PATHS.items() if said & set(paths))
    return truth


def speed(texts: list[str]) -> dict[str, float]:
    """Return reports a second on one core, with and without the sentence cache, and the texts' length."""
    result = {"words": round(sum(len(text.split()) for text in texts) / len(texts), 1)}
    for name, use_cache in (("cache_off", False), ("cache_on", True)):
        times = []
        for _ in range(3):
            rules.clear_cache()
            start = time.perf_counter()
            for text in texts:
                rules.label(text, cache=use_cache)
            times.append(time.perf_counter() - start)
        result[f"reports_per_second_{name}"] = round(len(texts) / min(times))
    return result


def main(shared: Path, output: Path, restruct: Path | None, errors: str | None) -> None:
    """Measure and write the result."""
    root = shared / "iu_xray"
    texts = {
        study.study_id: f"{study.sections.findings or ''}\n\n{study.sections.impression or ''}"
        for study in open_source("iu-xray", root).studies()
    }
    found = {study: rules.label(text) for study, text in texts.items()}
    gold = read_gold(shared / "gold" / "negbio_openi" / "openi_gld_std14.csv")
    result: dict[str, Any] = {"machine": describe(), "signature": rules.signature(), "reports": len(texts)}
    truths = {"gold": (gold, tuple(GOLD_CLASSES))}
    if restruct is not None:
        truths["rad_restruct"] = read_restruct(root, restruct), tuple(RESTRUCT_PATHS)
    for name, (truth, classes) in truths.items():
        for half, wanted in (("develop", True), ("held_out", False)):
            part = {study: labels for study, labels in found.items() if is_develop(study) is wanted}
            result[f"{name}_{half}"] = scores(truth, part, classes)
    if errors is not None:
        show_errors(errors, gold, found, texts)
        return
    reports = [text for text in texts.values() if text.strip()]
    result["speed_short"] = speed(reports)
    longer, current = [], ""
    for text in reports:
        current = f"{current} {text}"
        if len(current.split()) >= 95:
            longer.append(current)
            current = ""
    result["speed_long"] = speed(longer)
    output.write_text(json.dumps(result, indent=2) + "\n")
    for name, table in result.items():
        if isinstance(table, dict) and "micro" in table:
            print(f"{name}: micro F1 {table['micro']['f1']}, macro F1 {table['macro_f1']}")
    print(json.dumps({name: result[name] for name in ("speed_short", "speed_long")}))


def show_errors(
    name: str, gold: Mapping[str, frozenset[str]], found: Mapping[str, Labels], texts: Mapping[str, str]
) -> None:
    """Print the wrongly labelled reports of the half "develop" for one class."""
    index = FINDINGS.index(name)
    for study, labels in found.items():
        if study in gold and is_develop(study) and (labels[index] == 1) != (name in gold[study]):
            print("FN" if name in gold[study] else "FP", labels[index], study, " ".join(texts[study].split())[:600])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rad-restruct", type=Path)
    parser.add_argument("--errors", help="print the errors of one class on the half that may be looked at")
    given = parser.parse_args()
    main(given.shared, given.output, given.rad_restruct, given.errors)
