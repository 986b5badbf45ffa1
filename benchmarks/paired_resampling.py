"""Paired tests of every report metric: sums of sufficient statistics against scoring each resample anew, in one run.

The peer does what RadEval does: in each trial it exchanges answers between the two models and computes every corpus
metric of both from the texts and labels. It is given tokens and labels that are already made; its time is that of a few
trials.

python benchmarks/paired_resampling.py ../shared/data/iu_xray benchmarks/results/paired_resampling.json
"""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from radialog_bench.metrics import clinical_metrics, lexical_metrics
from radialog_bench.metrics.paired import Pair, paired_tests
from radialog_instruct.labeling import rules
from radialog_instruct.sources import open_source

SAMPLES, PATIENTS, RESAMPLES, TRIALS = 3858, 293, 10_000, 3
"""Samples and patients of MIMIC-CXR's test split."""


def main(root: Path, output: Path) -> None:
    """Measure and write the result."""
    found = [s.sections.findings for s in open_source("iu-xray", root).studies() if s.sections.findings]
    references = [found[i % len(found)] for i in range(SAMPLES)]
    answers = [[*references[shift:], *references[:shift]] for shift in (7, 11)]
    labels = [rules.label_many(texts) for texts in (*answers, references)]
    families: list[tuple[Any, Any, Any, Any]] = [(m, *answers, references) for m in lexical_metrics()]
    families += [(m, *labels) for m in clinical_metrics(rules.signature())]
    pairs = [Pair(m, m.statistics(a, truth), m.statistics(b, truth)) for m, a, b, truth in families]
    result: dict[str, Any] = {
        "samples": SAMPLES,
        "metrics": len(pairs),
        "resamples": RESAMPLES,
        "tests": ["bootstrap", "randomisation"],
    }
    for name, patients in (("patients_293", PATIENTS), ("every_sample_a_patient", SAMPLES)):
        clusters = [f"p{i * patients // SAMPLES}" for i in range(SAMPLES)]
        start = time.perf_counter()
        paired_tests(pairs, clusters, resamples=RESAMPLES, seed=0)
        seconds = time.perf_counter() - start
        naive = _naive(families, clusters) * 2 * RESAMPLES  # both tests, as above
        result[name] = {
            "patients": patients,
            "seconds_both_tests": round(seconds, 2),
            "seconds_scoring_anew": round(naive),
            "ratio": round(naive / seconds),
        }
    tracemalloc.start()
    paired_tests(pairs, clusters, resamples=2000, seed=0)
    result["peak_megabytes"] = round(tracemalloc.get_traced_memory()[1] / 2**20)
    result["machine"] = describe()
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _naive(families: list[tuple[Any, Any, Any, Any]], clusters: list[str]) -> float:
    """Return the seconds of one trial that scores both exchanged systems from texts and labels."""
    generator = np.random.default_rng(0)
    patients = sorted(set(clusters))
    start = time.perf_counter()
    for _ in range(TRIALS):
        swapped = dict(zip(patients, generator.random(len(patients)) < 0.5, strict=True))
        swaps = [swapped[name] for name in clusters]
        for metric, a, b, truth in families:
            sides = [
                [y if swap else x for x, y, swap in zip(one, two, swaps, strict=True)] for one, two in ((a, b), (b, a))
            ]
            for side in sides:
                metric.value(metric.statistics(side, truth).sum(0))
    return (time.perf_counter() - start) / TRIALS


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
