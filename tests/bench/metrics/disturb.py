"""Disturbed Rad-ReStruct answers, the same on every machine: numpy promises the stream of ``RandomState``."""

from __future__ import annotations

import numpy as np

from radialog_bench.metrics.base import Floats
from radialog_bench.metrics.rad_restruct.complete import NOT_ASKED
from radialog_bench.metrics.rad_restruct.layout import NO, YES, Layout


def all_no(targets: Floats, layout: Layout) -> Floats:
    """Answer every yes/no question by no, and choose nothing else."""
    vectors = np.zeros_like(targets)
    vectors[:, [question.column(NO) for question in layout.questions if question.is_binary]] = 1
    return vectors


def never_asked(targets: Floats, layout: Layout) -> Floats:
    """Answer level 1 by no and leave what lies below open, as a model does that is asked along the hierarchy."""
    vectors = np.full_like(targets, NOT_ASKED)
    for topic in layout.topics:
        question = topic.question or topic.findings[0].instances[0].question
        vectors[:, question.columns] = (0, 1)
    return vectors


def exchanged(targets: Floats, layout: Layout, seed: int) -> Floats:
    """Give every report the answers of another one."""
    return targets[np.random.RandomState(seed).permutation(len(targets))]


def redrawn(targets: Floats, layout: Layout, seed: int, rate: float) -> Floats:
    """Answer a share of the questions by chance, with no regard to the hierarchy; no answer at all is possible too."""
    generator, vectors = np.random.RandomState(seed), targets.copy()
    for question in layout.questions:
        rows = np.flatnonzero(generator.random_sample(len(vectors)) < rate)
        width = len(question.options)
        if question.answer_type == "single_choice":
            chosen = generator.randint(0, width + (question.level > 1), len(rows))
            drawn = (chosen[:, None] == np.arange(width)).astype(float)
        else:
            drawn = (generator.random_sample((len(rows), width)) < 0.3).astype(float)
        vectors[rows, question.columns] = drawn
    return vectors


def instances_reversed(targets: Floats, layout: Layout) -> Floats:
    """Name the instances of every finding in the opposite order."""
    vectors = targets.copy()
    for finding in layout.findings:
        for row in range(len(targets) if len(finding.instances) > 1 else 0):
            positive = [i for i in finding.instances if targets[row, i.question.column(YES)] == 1]
            for place, source in zip(positive, reversed(positive), strict=True):
                vectors[row, place.columns] = targets[row, source.columns]
    return vectors


CASES = {
    "references": lambda targets, _: targets,
    "all no": all_no,
    "not asked below no": never_asked,
    "answers of another report, seed 1": lambda targets, layout: exchanged(targets, layout, 1),
    "2 % of the questions redrawn, seed 2": lambda targets, layout: redrawn(targets, layout, 2, 0.02),
    "30 % of the questions redrawn, seed 3": lambda targets, layout: redrawn(targets, layout, 3, 0.3),
    "instances in the opposite order": instances_reversed,
}
"""Ways to disturb the references, by name: from targets and layout to predictions."""
