"""View classification: an image in, its projection out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from radialog_bench.chat import Request
from radialog_bench.evaluations.base import Conversation, EvalSample, Evaluation, LeftOut, Options, sample_key
from radialog_bench.metrics import classification_metrics, confusion_table
from radialog_bench.metrics.classification import UNKNOWN
from radialog_bench.sheet import Sheet
from radialog_instruct.errors import UsageError
from radialog_instruct.prompts import CONSTANTS, default_prompts
from radialog_instruct.records import Study
from radialog_instruct.tasks.view_classification import VIEW_ANSWERS

CLASSES = ("ap", "pa", "lateral", "ll")


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
        options: The switches of the run; ``view_parser`` is ``whole-word``, or ``released`` for the released code's
            rule.

    Raises:
        UsageError: If there is no such parser.
    """

    name = "view_classification"
    version = 1
    headline = "macro_f1"

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        if self.options.view_parser not in PARSERS:
            mend = f"choose from: {', '.join(PARSERS)}"
            raise UsageError(f"no parser {self.options.view_parser!r}", where="--view-parser", mend=mend)

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
        return self.question(sample, "view_classification", "view", text)

    def score(self, samples: Sequence[EvalSample], conversations: Sequence[Conversation], sheet: Sheet) -> None:
        """Score the parsed answers."""
        parser = self.options.view_parser
        guesses = [PARSERS[parser](conversation.answer) for conversation in conversations]
        truths = [sample.reference.lower() for sample in samples]
        for metric in classification_metrics(CLASSES, parser):
            sheet.add(metric, guesses, truths, shown=metric.name == "accuracy")
        pairs = zip(guesses, conversations, strict=True)
        unknown = sum(guess == UNKNOWN and bool(conversation.turns) for guess, conversation in pairs)
        sheet.counts.update({"answer names no view": unknown} if unknown else {})
        if samples:
            sheet.tables["confusion"] = confusion_table(guesses, truths, CLASSES)
        sheet.parsed, sheet.reference_parsed = list(guesses), list(truths)
