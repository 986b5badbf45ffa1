"""Rad-ReStruct's official scores: ours against the authors' evaluator, in values and in seconds.

    python benchmarks/rad_restruct_official.py CHECKOUT benchmarks/results/rad_restruct_official.json

CHECKOUT is the authors' repository (github.com/ChantalMP/Rad-ReStruct) with its data in ``data/radrestruct``; their
program is imported from there and is no part of this project. Scored is the whole test split, 374 rows, for the
references and several ways to disturb them. Their evaluator takes about a minute a case.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct import load_layout, score
from tests.bench.metrics.disturb import CASES

NAMES = ("accuracy", "report_accuracy", "official_f1", "official_precision", "official_recall")
LEVELS = {
    "l1": "level1",
    "l2": "level2",
    "l2_diseases": "level2_diseases",
    "l2_signs": "level2_signs",
    "l2_objects": "level2_objects",
    "l2_body_regions": "level2_body_regions",
    "l3": "level3",
}


def targets_of(data: Path) -> Floats:
    """Return the references of the test split, one row a frontal image, in the authors' order."""
    images = json.loads((data / "id_to_img_mapping_frontal_reports.json").read_text())
    rows = [
        list(json.loads(file.read_text()).values())
        for file in sorted((data / "test_vectorized_answers").iterdir(), key=lambda path: path.name)
        for _ in images[file.stem]
    ]
    return np.array(rows, dtype=float)


def compare(evaluator: Any, predictions: Floats, targets: Floats, layout: Any) -> dict[str, Any]:
    """Score one case twice."""
    start = time.perf_counter()
    *theirs, levels = evaluator.evaluate(predictions.copy(), targets)
    their_seconds = time.perf_counter() - start
    start = time.perf_counter()
    ours = score(predictions, targets, layout)
    our_seconds = time.perf_counter() - start
    official = dict(zip(NAMES, map(float, theirs), strict=True))
    difference = max(abs(value - getattr(ours, name)) for name, value in official.items())
    assert difference < 1e-9, (official, ours)
    for name, line in levels.items():  # rounded to four places by their program
        shown = [float(number) for number in re.findall(r"\d+\.\d+", line)]
        level = ours.levels[LEVELS[name]]
        mine = (level.official_f1, level.report_accuracy, level.official_precision, level.official_recall)
        assert np.allclose(mine, shown, atol=5.1e-5), (name, mine, shown)
    return {
        "official": official,
        "largest_difference": difference,
        "seconds_official_evaluator": round(their_seconds, 2),
        "seconds_ours": round(our_seconds, 3),
        "ratio": round(their_seconds / our_seconds, 1),
    }


def main(checkout: Path, output: Path) -> None:
    """Compare all cases and write the result."""
    sys.path.insert(0, str(checkout))
    os.chdir(checkout)
    evaluator = importlib.import_module("evaluation.evaluator_radrestruct").AutoregressiveEvaluator()
    layout, targets = load_layout(checkout), targets_of(checkout / "data" / "radrestruct")
    cases = {}
    for name, disturb in CASES.items():
        cases[name] = compare(evaluator, disturb(targets, layout), targets, layout)
        print(name, json.dumps(cases[name]), flush=True)
    result = {"rows": len(targets), "columns": layout.size, "cases": cases, "machine": describe()}
    output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
