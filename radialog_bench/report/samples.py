"""The samples of a page: which are shown, in what order, and what each shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from radialog_bench.report.differences import (
    FindingsDifference,
    Piece,
    Word,
    compare_findings,
    compare_words,
    mark_answer,
    mark_reference,
)
from radialog_bench.report.pictures import Picture, Pictures
from radialog_bench.report.site import short_id
from radialog_bench.results import SampleRecord

MAX_SAMPLES = 100
"""Samples shown of one evaluation; the rest is in the run folder."""
MAX_TURNS = 80
"""Turns shown of one dialog."""
FOLDED_TURNS = 6
"""A dialog with more turns before its last answer shows the first two and folds the others."""
MAX_TEXT = 4000
"""Characters shown of one text."""
MAX_FAILURES = 50
"""Failed samples listed of one kind."""
DIFFERENCES = "findings that differ"
PER_SAMPLE = ("corrected_ce_samples_f1", "ce_samples_f1", "accuracy")
"""Per-sample scores that say most about a sample; elsewhere its first score does."""


@dataclass(frozen=True)
class Turn:
    """A turn of a dialog."""

    role: str
    text: str


@dataclass(frozen=True)
class SampleView:
    """One sample as the page shows it.

    Attributes:
        anchor: Its id in the page.
        name: What stands in its heading: its id without the evaluation.
        rank: Its place, the worst being 1.
        record: The sample.
        picture: Its image.
        score: The score it is ordered by.
        turns: The turns before the scored answer.
        turns_hidden: How many more there are.
        answer: The scored answer in pieces; None when the sample failed.
        reference: The reference in pieces.
        findings: The findings that differ, or None where answers name none.
        words: What is compared word by word, and the words.
    """

    anchor: str
    name: str
    rank: int
    record: SampleRecord
    picture: Picture | None
    score: float | None
    turns: tuple[Turn, ...] = ()
    turns_hidden: int = 0
    answer: list[Piece] | None = None
    reference: list[Piece] = field(default_factory=list)
    findings: FindingsDifference | None = None
    words: tuple[tuple[str, list[Word]], ...] = ()


@dataclass(frozen=True)
class Failures:
    """Failed samples of one kind.

    Attributes:
        kind: For example ``"timeout"``.
        n: How many.
        listed: Anchor (None if not shown), id and message of some of them.
    """

    kind: str
    n: int
    listed: tuple[tuple[str | None, str, str], ...]


@dataclass(frozen=True)
class SampleList:
    """The samples of one evaluation.

    Attributes:
        shown: Worst first.
        n: How many there are in all.
        order: What they are ordered by, or None where nothing tells them apart.
        failures: By kind.
        findings: Findings that some shown answer has added or missed.
    """

    shown: tuple[SampleView, ...]
    n: int
    order: str | None
    failures: tuple[Failures, ...]
    findings: tuple[str, ...]


def list_samples(
    evaluation: str, records: Iterable[SampleRecord], pictures: Pictures, *, private: bool, higher_is_better: bool
) -> SampleList:
    """Choose and prepare the samples of an evaluation.

    Up to ``MAX_SAMPLES`` all are shown. Of more, one half are failed ones and those that score worst, the other half
    lie evenly spread over the rest, from bad to good.

    Args:
        evaluation: Its name, for the anchors.
        records: Its samples.
        pictures: Collects the images.
        private: Leave out texts, labels and images.
        higher_is_better: Direction of the per-sample score.
    """
    everything = list(records)
    order = _order(everything)
    sign = 1 if higher_is_better else -1

    def badness(record: SampleRecord) -> tuple[int, float]:
        score = _score(record, order)
        if order is None:
            score, direction = _differences(record), -1
        else:
            direction = sign
        return (0, 0.0) if record.error else (2, 0.0) if score is None else (1, direction * score)

    chosen = _choose(sorted(everything, key=badness))
    shown = tuple(
        _view(evaluation, rank, record, _score(record, order), pictures, private)
        for rank, record in enumerate(chosen, start=1)
    )
    named = Counter(name for view in shown if view.findings for name in (*view.findings.added, *view.findings.missed))
    failures = _failures(everything, {view.record.id: view.anchor for view in shown}, private)
    return SampleList(shown, len(everything), order or (DIFFERENCES if named else None), failures, tuple(sorted(named)))


def _order(records: Sequence[SampleRecord]) -> str | None:
    names = dict.fromkeys(name for record in records for name, value in record.scores.items() if value is not None)
    return next((name for name in (*PER_SAMPLE, *names) if name in names), None)


def _score(record: SampleRecord, order: str | None) -> float | None:
    score = record.scores.get(order) if order else None
    return score if score is not None and math.isfinite(score) else None


def _differences(record: SampleRecord) -> float | None:
    findings = compare_findings(record.parsed, record.reference_parsed)
    return None if findings is None else float(len(findings.added) + len(findings.missed))


def _choose(worst_first: list[SampleRecord]) -> list[SampleRecord]:
    if len(worst_first) <= MAX_SAMPLES:
        return worst_first
    half = MAX_SAMPLES // 2
    rest = worst_first[half:]
    step = (len(rest) - 1) / (MAX_SAMPLES - half - 1)
    return worst_first[:half] + [rest[round(index * step)] for index in range(MAX_SAMPLES - half)]


def _view(
    evaluation: str, rank: int, record: SampleRecord, score: float | None, pictures: Pictures, private: bool
) -> SampleView:
    name = short_id(evaluation, record.id)
    anchor = f"{evaluation}-{rank}"
    if private:
        return SampleView(anchor, name, rank, record, None, score)
    answer = record.prediction
    last = record.dialog[-1] if record.dialog else {}
    answered = answer is not None and last.get("role") == "assistant" and last.get("content") == answer
    earlier = record.dialog[:-1] if answered else record.dialog
    findings = compare_findings(record.parsed, record.reference_parsed)
    return SampleView(
        anchor=anchor,
        name=name,
        rank=rank,
        record=record,
        picture=pictures.add(record.images),
        score=score,
        turns=tuple(Turn(turn["role"], cut(turn["content"])) for turn in earlier[:MAX_TURNS]),
        turns_hidden=max(0, len(earlier) - MAX_TURNS),
        answer=None if answer is None else answer_pieces(answer, findings),
        reference=reference_pieces(record.reference, findings),
        findings=findings,
        words=tuple(_words(record)),
    )


def _words(record: SampleRecord) -> Iterator[tuple[str, list[Word]]]:
    # A list of findings or a view is no wording; only where texts are scored as texts is their difference of interest.
    if not any(name.endswith("rouge_l") for name in record.scores):
        return
    draft, corrected = record.parts.get("draft"), record.parts.get("corrected")
    pairs = [("From reference to answer", record.reference, record.prediction)]
    if draft and corrected and draft != corrected:
        pairs.append(("From draft to corrected report", draft, corrected))
    for title, old, new in pairs:
        words = compare_words(cut(old), cut(new)) if new else None
        if words is not None:
            yield title, words


def answer_pieces(text: str, findings: FindingsDifference | None) -> list[Piece]:
    """Return an answer, cut to what is shown, with its findings marked where there are any."""
    return mark_answer(cut(text), findings) if findings else [Piece(cut(text))]


def reference_pieces(text: str, findings: FindingsDifference | None) -> list[Piece]:
    """Return a reference, cut to what is shown, with its findings marked where there are any."""
    return mark_reference(cut(text), findings) if findings else [Piece(cut(text))]


def cut(text: str) -> str:
    """Return a text, or its beginning with a note of how much is missing."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]} … [{len(text) - MAX_TEXT:,} more characters in the run folder]"


def _failures(records: Sequence[SampleRecord], anchors: dict[str, str], private: bool) -> tuple[Failures, ...]:
    by_kind: dict[str, list[tuple[str | None, str, str]]] = {}
    for record in records:
        if record.error:
            kind, _, message = record.error.partition(":")
            # A message may quote what the model was shown.
            why = "" if private else cut(message.strip())
            by_kind.setdefault(kind, []).append((anchors.get(record.id), record.id, why))
    return tuple(Failures(kind, len(found), tuple(found[:MAX_FAILURES])) for kind, found in sorted(by_kind.items()))
