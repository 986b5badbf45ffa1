"""Paired tests of the report metrics and of Rad-ReStruct: sums of statistics against scoring anew, in one run.

The peer does what RadEval does: in each trial it exchanges answers between the two models and computes every corpus
metric of both from texts, labels or answer vectors. It is given tokens and labels that are already made, and neither
METEOR nor BERTScore; its time is that of a few trials.

RAD_RESTRUCT is the authors' folder with data/radrestruct in it; ENCODER and LAYER are what BERTScore embeds with.

python benchmarks/paired_resampling.py ../shared/data/iu_xray RAD_RESTRUCT ENCODER LAYER OUTPUT.json
"""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe

from radialog_bench.metrics import clinical_metrics, lexical_metrics, meteor
from radialog_bench.metrics.base import Metric
from radialog_bench.metrics.bertscore import BertScoreSettings, open_bertscore
from radialog_bench.metrics.lexical import mean
from radialog_bench.metrics.paired import Pair, paired_tests
from radialog_bench.metrics.rad_restruct import load_layout
from radialog_bench.metrics.rad_restruct.answers import encode
from radialog_bench.metrics.rad_restruct.complete import complete
from radialog_bench.metrics.rad_restruct.matching import match_instances
from radialog_bench.metrics.rad_restruct.measures import vector_metrics
from radialog_bench.metrics.rad_restruct.reports import answers_of, joined
from radialog_instruct.annotations.rad_restruct import RadReStruct
from radialog_instruct.labeling import rules
from radialog_instruct.sources import open_source
from tests.bench.metrics.disturb import CASES

Family = tuple[Metric[Any], Any, Any, Any]
"""A metric, the answers of two models, and the references."""

SAMPLES, PATIENTS, RESAMPLES, TRIALS = 3858, 293, 10_000, 3
"""Samples and patients of MIMIC-CXR's test split."""


def main(root: Path, rad_restruct: Path, encoder: str, layer: int, output: Path) -> None:
    """Measure and write the result."""
    result: dict[str, Any] = {"resamples": RESAMPLES, "tests": ["bootstrap", "randomisation"]}
    quick, all_metrics = reports(root, encoder, layer)
    several = [f"p{i * PATIENTS // SAMPLES}" for i in range(SAMPLES)]
    result["reports_patients_293"] = measured(all_metrics, quick, several)
    result["reports_every_sample_a_patient"] = measured(all_metrics, quick, [str(i) for i in range(SAMPLES)])
    families, clusters = structured_reports(rad_restruct)
    result["rad_restruct"] = measured(families, families, clusters)
    result["load_average"] = [round(load, 1) for load in os.getloadavg()]
    result["machine"] = describe()
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def reports(root: Path, encoder: str, layer: int) -> tuple[list[Family], list[Family]]:
    """Return the metrics over reports that the peer computes, and all of them."""
    found = [s.sections.findings for s in open_source("iu-xray", root).studies() if s.sections.findings]
    references = [found[i % len(found)] for i in range(SAMPLES)]
    answers = [[*references[shift:], *references[:shift]] for shift in (7, 11)]
    labels = [rules.label_many(texts) for texts in (*answers, references)]
    quick: list[Family] = [(m, *answers, references) for m in lexical_metrics()]
    quick += [(m, *labels) for m in clinical_metrics(rules.signature())]
    scorer = open_bertscore(BertScoreSettings(model=encoder, layer=layer, baseline="none", device="cpu"))
    bertscore = Metric[str]("bertscore", scorer.signature, scorer.statistics, mean)
    return quick, [*quick, *((m, *answers, references) for m in (meteor.meteor_metric(), bertscore))]


def structured_reports(root: Path) -> tuple[list[Family], list[str]]:
    """Return Rad-ReStruct's metrics with and without matching, and the report of each row of its test split."""
    layout, annotation = load_layout(root), RadReStruct(root)
    rows, clusters = [], []
    for study_id in (name for name in annotation.study_ids if annotation.split_of(name) == "test"):
        structured = annotation.structured(study_id)
        images = len(structured.image_ids)
        rows += [encode(layout, answers_of(joined(layout, structured.questions)))] * images
        clusters += [study_id] * images
    targets = np.array(rows)
    names = ("answers of another report, seed 1", "30 % of the questions redrawn, seed 3")
    answers = [complete(CASES[name](targets, layout), layout) for name in names]
    families: list[Family] = []
    for matched in (True, False):
        sides = [match_instances(side, targets, layout) if matched else side for side in answers]
        families += [(metric, *map(list, sides), list(targets)) for metric in vector_metrics(matched=matched)]
    return families, clusters


def measured(families: list[Family], peers: list[Family], clusters: list[str]) -> dict[str, Any]:
    """Time both tests of all metrics, and the peer's trials."""
    pairs = [Pair(metric, metric.statistics(a, truth), metric.statistics(b, truth)) for metric, a, b, truth in families]
    seconds = _timed(lambda: paired_tests(pairs, clusters, resamples=RESAMPLES, seed=0))
    anew = _timed(lambda: _trials(peers, clusters)) / TRIALS * 2 * RESAMPLES  # both tests, as above
    tracemalloc.start()
    paired_tests(pairs, clusters, resamples=2000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "samples": len(clusters),
        "patients": len(set(clusters)),
        "metrics": len(pairs),
        "seconds_both_tests": round(seconds, 2),
        "metrics_scored_anew": len(peers),
        "seconds_scoring_anew": round(anew),
        "ratio": round(anew / seconds),
        "peak_megabytes": round(peak / 2**20),
    }


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _trials(families: list[Family], clusters: list[str]) -> None:
    """Exchange answers and score both systems from texts, labels or vectors, ``TRIALS`` times."""
    generator = np.random.default_rng(0)
    patients = sorted(set(clusters))
    for _ in range(TRIALS):
        swapped = dict(zip(patients, generator.random(len(patients)) < 0.5, strict=True))
        swaps = [swapped[name] for name in clusters]
        for metric, a, b, truth in families:
            sides = [
                [y if swap else x for x, y, swap in zip(one, two, swaps, strict=True)] for one, two in ((a, b), (b, a))
            ]
            for side in sides:
                metric.value(metric.statistics(side, truth).sum(0))


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
