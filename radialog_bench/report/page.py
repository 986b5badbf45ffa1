"""Writes ``report.html``: one self-contained page with scores, tables and samples.

Without script the page is complete; a small one adds filters. Texts, labels and images of credentialed sources stay
out unless the user asks for them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from radialog_bench.privacy import shareable
from radialog_bench.report.folder import RunFolder, open_run
from radialog_bench.report.headlines import headline_of
from radialog_bench.report.pictures import Pictures
from radialog_bench.report.samples import FOLDED_TURNS, SampleList, list_samples
from radialog_bench.report.site import in_order, title, write_page
from radialog_bench.results import EvaluationResult, MetricResult

REPORT = "report.html"
Metric = TypeVar("Metric")
VARIANTS = {
    "_uncertain_positive": "With uncertain findings counted as present",
    "_unmatched": "With instances of a finding as they were named, not matched",
}
"""Endings of metrics that repeat another under a second rule, and what their fold is called."""


@dataclass(frozen=True)
class _Part:
    result: EvaluationResult
    title: str
    headline: str | None
    metrics: dict[str, MetricResult]
    variants: dict[str, dict[str, MetricResult]]
    unavailable: tuple[str, ...]
    samples: SampleList


def write_report(folder: Path, *, include_text: bool = False) -> Path:
    """Write the page of a finished run.

    Args:
        folder: The run folder.
        include_text: Show texts, labels and images of a credentialed source; those of other sources are always shown.

    Returns:
        The page's path.

    Raises:
        DataError: If the folder holds no finished run.
        UsageError: If the page cannot be written.
    """
    run = open_run(folder)
    private = run.credentialed and not include_text
    pictures = Pictures()
    parts = [_part(run, run.results.evaluations[name], pictures, private) for name in in_order(run.results.evaluations)]
    return write_page(
        folder / REPORT,
        "report.html.jinja",
        run=run.run,
        model=run.results.model,
        data=run.results.data,
        notices=(*run.results.data.notices, *run.results.model.notices),
        parts=parts,
        pictures=pictures.shown(),
        private=private,
        failures=any(part.samples.failures for part in parts),
        folded_turns=FOLDED_TURNS,
        speed={name: run.run.speed[name] for name in in_order(run.run.speed)},
        settings=_settings(run),
        command=shlex.join(shareable(run.run.command)),
    )


def without_variants(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the metrics that repeat no other under a second rule."""
    return {name: metric for name, metric in metrics.items() if not name.endswith(tuple(VARIANTS))}


def variants_of(metrics: Mapping[str, Metric]) -> dict[str, dict[str, Metric]]:
    """Return the metrics that repeat another, by the title of their rule."""
    found = {
        rule: {name: metric for name, metric in metrics.items() if name.endswith(ending)}
        for ending, rule in VARIANTS.items()
    }
    return {rule: members for rule, members in found.items() if members}


def _part(run: RunFolder, result: EvaluationResult, pictures: Pictures, private: bool) -> _Part:
    records = run.samples(result.evaluation)
    samples = list_samples(result.evaluation, records, pictures, private=private, higher_is_better=True)
    first = headline_of(result.headline, result.metrics)
    # results.json has its keys sorted; what the eye looks for stands first.
    ordered = dict(sorted(result.metrics.items(), key=lambda item: item[0] != first))
    return _Part(
        result=result,
        title=title(result.evaluation),
        headline=first,
        metrics=without_variants(ordered),
        variants=variants_of(ordered),
        unavailable=tuple(sorted({m.unavailable for m in result.metrics.values() if m.unavailable})),
        samples=samples,
    )


def _settings(run: RunFolder) -> dict[str, str]:
    """Return the settings of a run that are set at all, as text."""
    shown = {name: value for name, value in run.run.config.items() if value not in (None, {}, [])}
    if "sample_ids" in shown:
        shown["sample_ids"] = f"{len(shown['sample_ids'])} chosen"
    return {name: _text(value) for name, value in shareable(shown).items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value)
    return str(value)
