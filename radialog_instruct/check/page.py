"""Writes a dataset's report: one self-contained page of counts, distributions and checks, without a report's text."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from radialog_instruct.assets import templates_dir
from radialog_instruct.build.manifest import read_manifest
from radialog_instruct.check import plots
from radialog_instruct.check.replay import Pairs, replay_facts
from radialog_instruct.check.run import check_dataset
from radialog_instruct.check.statistics import Statistics
from radialog_instruct.errors import DataError
from radialog_instruct.files import replacing

REPORT = "report.html"


def write_report(
    dataset: Path, out: Path | None = None, replay: Path | None = None, *, include_text: bool = False
) -> Path:
    """Check a dataset and write its page.

    Args:
        dataset: A built dataset.
        out: The page; ``report.html`` in the dataset's folder by default.
        replay: The replay folder whose answers the dataset holds; the embedded demo's is known.
        include_text: Show answers of an LLM beside what they were made from.

    Returns:
        The page's path.

    Raises:
        DataError: If there is no complete dataset.
        UsageError: If the page cannot be written.
    """
    manifest = read_manifest(dataset)
    if manifest is None:
        raise DataError("no manifest.json here", where=str(dataset), mend="run radialog-instruct build first")
    statistics = Statistics()
    pairs = Pairs(manifest.fingerprint)
    checks = check_dataset(dataset, statistics, pairs if include_text else None)
    page = (
        _environment()
        .get_template("html/dataset.html.jinja")
        .render(
            manifest=manifest,
            rows=manifest.rows(),
            total=sum(n for by_split in manifest.rows().values() for n in by_split.values()),
            checks=checks,
            failed=[check for check in checks if not check.passed],
            left_out=_left_out(manifest.rejected, manifest.images_left_out, manifest.left_out()),
            plots=_plots(statistics, manifest.rows()),
            replay=replay_facts(manifest, replay),
            pairs=pairs.chosen(),
        )
    )
    path = out if out is not None else dataset / REPORT
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _left_out(
    rejected: dict[str, int], images: dict[str, int], skipped: dict[str, dict[str, int]]
) -> list[tuple[str, str, int]]:
    return [
        *(("source", reason, n) for reason, n in rejected.items()),
        *(("images", reason, n) for reason, n in images.items()),
        *((task, reason, n) for task, reasons in skipped.items() for reason, n in reasons.items()),
    ]


def _plots(statistics: Statistics, rows: dict[str, dict[str, int]]) -> list[tuple[str, list[Markup]]]:
    """Return the page's plots by heading."""
    words = [plots.words_plot(task, counts) for task, counts in sorted(statistics.answer_words.items())]
    answers = [plots.answers_plot(task, counts) for task, counts in sorted(statistics.answers.items())]
    groups = [
        ("Rows", [plots.rows_plot(rows)]),
        ("Length of the answers", words),
        ("Answers", answers),
        ("Template variants", [plots.templates_plot(statistics.templates)]),
        ("Labels", [plots.labels_plot(statistics)] if statistics.labels else []),
    ]
    # matplotlib wrote them and escapes its texts itself.
    return [(title, [Markup(svg) for svg in svgs]) for title, svgs in groups if svgs]  # noqa: S704


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_dir()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda n: f"{n:,}"
    return environment
