"""View classification: an image in, its projection out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from radialog_bench.chat import Generation, Request
from radialog_bench.evaluations.base import (
    EvalSample,
    Evaluation,
    LeftOut,
    Scores,
    ScoringSettings,
    sample_key,
)
from radialog_bench.metrics import classification_metrics, confusion_table, evaluate_metric
from radialog_bench.metrics.classification import UNKNOWN
from radialog_instruct.errors import UsageError
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Study
from radialog_instruct.tasks.view_classification import VIEW_ANSWERS

CLASSES = ("ap", "pa", "lateral", "ll")
MAX_NEW_TOKENS = 300


def parse_whole_word(text: str) -> str:
    """Return the first of the four views that stands as a word of its own, in any case; ``unknown`` without one."""
    found = re.search(rf"\b({'|'.join(CLASSES)})\b", text.lower())
    return found[1] if found else UNKNOWN


def parse_released(text: str) -> str:
    """Return what the released code reads: a view with a blank on both sides, so "AP." at the end is ``unknown``."""
    padded = f" {text.lower()} "
    return next((name for name in CLASSES if f" {name} " in padded), UNKNOWN)


PARSERS: dict[str, Callable[[str], str]] = {"whole-word": parse_whole_word, "released": parse_released}


class ViewClassification(Evaluation):
    """Name the projection of each image.

    Dialog: the released question, with the image alone; no findings text. Greedy.
    Reference: AP, PA, LL or lateral from the source's metadata; other projections are left out and counted.
    Metrics: accuracy, balanced accuracy, macro F1 with and without ``unknown``, confusion matrix. Source: the paper,
    section 4, and the released code.

    Args:
        parser: ``whole-word``, or ``released`` for the released code's rule.

    Raises:
        UsageError: If there is no such parser.
    """

    name = "view_classification"
    version = 1

    def __init__(self, parser: str = "whole-word") -> None:
        if parser not in PARSERS:
            known = ", ".join(PARSERS)
            raise UsageError(f"no parser {parser!r}", where="--view-parser", mend=f"choose from: {known}")
        self._parser = parser

    def samples(self, studies: Iterable[Study]) -> Iterator[EvalSample | LeftOut]:
        """Yield one sample an image of a known view."""
        for study in studies:
            for image in study.images:
                answer = VIEW_ANSWERS.get(image.view) if image.view is not None else None
                if answer is None:
                    yield LeftOut(f"image with view {image.view.value if image.view else 'unknown'}")
                else:
                    yield EvalSample(sample_key(self.name, study, image), study, image, answer)

    def request(self, sample: EvalSample) -> Request:
        """Ask for the view."""
        text = default_prompts().render(CONSTANTS, "view")
        return self.question(sample, "view_classification", "view", text, Generation(MAX_NEW_TOKENS))

    def score(self, samples: Sequence[EvalSample], answers: Sequence[str], settings: ScoringSettings) -> Scores:
        """Score the parsed answers."""
        parse = PARSERS[self._parser]
        guesses = [parse(answer) for answer in answers]
        truths = [sample.reference.lower() for sample in samples]
        clusters = [sample.study.subject_id for sample in samples]
        metrics = {
            metric.name: evaluate_metric(
                metric,
                guesses,
                truths,
                clusters,
                n_error=settings.n_error,
                resamples=settings.resamples,
                seed=settings.seed,
            )
            for metric in classification_metrics(CLASSES, self._parser)
        }
        unknown = sum(guess == UNKNOWN and answer != "" for guess, answer in zip(guesses, answers, strict=True))
        counts = {"answer names no view": unknown} if unknown else {}
        tables = {"confusion": confusion_table(guesses, truths, CLASSES)} if samples else {}
        right: list[dict[str, float | None]] = [
            {"accuracy": float(guess == truth)} for guess, truth in zip(guesses, truths, strict=True)
        ]
        return Scores(metrics, tables, counts, list(guesses), list(truths), right)
