"""In what a run's protocol differs from that of the paper's tables, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from radialog_bench.leaderboard.entry import LeaderboardEntry
from radialog_bench.reference import Measure
from radialog_bench.results import MetricResult

_NAMES = {
    "labeler:chexbert": "read by CheXbert",
    "uncertain:negative": "with uncertain findings as absent",
    "protocol:radialog": "in RaDialog's protocol",
    "bertscore|distilroberta-base@": "by distilroberta-base",
    "baseline:distilroberta-base@": "rescaled with its baseline",
    "no-idf": "without idf weights",
    "rows:classes+averages": "the official mean over classes and averages",
}


def withheld(label: str, measure: Measure, metric: MetricResult) -> str | None:
    """Return why a run's metric may not stand in a printed column, or None.

    Args:
        label: The column's label.
        measure: What the column needs.
        metric: What the run measured.
    """
    if metric.value is None:
        return f"{label}: {metric.unavailable or 'undefined'}"
    missing = [part for part in measure.needs if part not in metric.signature]
    if missing:
        wanted = " and ".join(_NAMES.get(part, part) for part in missing)
        return f"{label} withheld: the table's is {wanted}, the run's is {metric.signature}"
    return None


def row_notes(entry: LeaderboardEntry, evaluations: Sequence[str]) -> tuple[str, ...]:
    """Return what a reader must know of a run's row.

    Args:
        entry: The run.
        evaluations: The evaluations whose numbers the row shows.
    """
    return tuple(dict.fromkeys([*_run_notes(entry), *_sample_notes(entry, evaluations), *entry.model.notices]))


def _run_notes(entry: LeaderboardEntry) -> Iterator[str]:
    settings = entry.settings
    if settings.get("data") == "parquet":
        yield "samples of a built dataset"
    if settings.get("indication"):
        yield "with the indication in the prompt"
    if settings.get("image") is False:
        yield "without the image"
    if settings.get("tokens") not in (None, "v2"):
        yield f"new tokens as in the release {settings['tokens']}"
    if entry.model.args:
        yield "model arguments " + ", ".join(f"{key}={value}" for key, value in sorted(entry.model.args.items()))


def _sample_notes(entry: LeaderboardEntry, evaluations: Sequence[str]) -> Iterator[str]:
    for name in evaluations:
        part = entry.evaluations[name]
        prefix = f"{name.replace('_', ' ')}: " if len(evaluations) > 1 else ""
        yield f"{prefix}{part.n:,} samples of {part.n_studies:,} studies"
        if part.n_error:
            how = "left out" if entry.settings.get("on_error") == "skip" else "counted as the worst answer"
            yield f"{prefix}{part.n_error:,} failed, {how}"
    if "view_classification" in evaluations and entry.settings.get("view_parser") != "released":
        yield "views read as whole words; the released code needed a blank on both sides"
    if "findings_qa" in evaluations and entry.settings.get("findings_parser") == "released-v2":
        yield "lists of findings read without lower-casing"
