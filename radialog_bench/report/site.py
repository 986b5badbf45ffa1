"""What all pages share: templates, style, script, number formats, and the content security policy.

A page is one file: style and script stand in it and are allowed by their hashes alone, so that nothing a model has
answered could run even if it were not escaped.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from radialog_bench.evaluations import EVALUATION_NAMES
from radialog_bench.results import MetricResult
from radialog_instruct.assets import templates_dir
from radialog_instruct.files import replacing

NO_NUMBER = "n/a"
STAGES = ("initial", "corrected", "binary", "complete", "official", "clean")
"""Beginnings of metric names that belong together in a table."""
_SPELLINGS = {
    "qa": "QA",
    "ce": "CE",
    "ce5": "CE-5",
    "f1": "F1",
    "rad restruct": "Rad-ReStruct",
    r"bleu(\d)": r"BLEU-\1",
    "rouge l": "ROUGE-L",
    "meteor": "METEOR",
    "bertscore": "BERTScore",
    "delta": "\N{GREEK CAPITAL LETTER DELTA}",
}
SHADES = 10
"""Steps of a heat table's colour."""


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Render a template of ``templates/html`` into a self-contained page.

    Args:
        path: The page's file.
        template: The template's file name.
        values: What the template shows.

    Returns:
        ``path``.

    Raises:
        UsageError: If the page cannot be written.
    """
    environment, assets = _environment()
    page = environment.get_template(template).render(**assets, **values)
    with replacing(path) as temporary:
        # A model's answer may hold half a surrogate pair, which no encoding can write.
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return path


def number(value: float | int | str | None, digits: int = 3) -> str:
    """Format a score; a missing or undefined one reads ``n/a``."""
    if isinstance(value, float):
        return f"{value:.{digits}f}" if math.isfinite(value) else NO_NUMBER
    return NO_NUMBER if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def signed(value: float | None, digits: int = 4) -> str:
    """Format a difference with its sign; one that rounds to nothing has none."""
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def p_value(value: float) -> str:
    """Format a p value; a small one keeps its magnitude."""
    return f"{value:.4f}" if value >= 0.0001 else f"{value:.1e}"


def finite(value: object) -> bool:
    """Tell whether a value can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)


def shade(cell: object, row: tuple[object, ...]) -> int:
    """Return a heat cell's shade, 0 to ``SHADES``: its share of the row's counts, whose first cell is a name."""
    counts = [value for value in row[1:] if isinstance(value, int)]
    total = sum(counts)
    return math.ceil(SHADES * cell / total) if isinstance(cell, int) and total else 0


def title(name: str) -> str:
    """Turn a key into a heading: ``findings_qa`` -> ``Findings QA``, ``initial_bleu4`` -> ``Initial BLEU-4``."""
    words = name.replace("_", " ").replace("-", " ")
    for key, written in _SPELLINGS.items():
        words = re.sub(rf"\b{key}\b", written, words)
    return words[:1].upper() + words[1:]


def short_id(evaluation: str, sample: str) -> str:
    """Return a sample's id without what the page says anyway: the evaluation, and an image named like its study."""
    return "/".join(dict.fromkeys(sample.removeprefix(f"{evaluation}/").split("/")))


def in_order(names: Iterable[str]) -> list[str]:
    """Return evaluations in the bench's order, which the sorted keys of ``results.json`` do not keep."""
    known = {name: place for place, name in enumerate(EVALUATION_NAMES)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))


@cache
def _environment() -> tuple[Environment, dict[str, Markup]]:
    folder = templates_dir() / "html"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        title_of=title,
        numbered=_numbered,
        by_stage=_by_stage,
        stage_of=_stage_of,
        signed=signed,
        p_value=p_value,
    )
    environment.globals.update(shade=shade)
    environment.tests["finite"] = finite
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("bench.css", "bench.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    # Both files are the distribution's own; everything else a page shows is escaped.
    return environment, {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}  # noqa: S704


def _stage_of(name: str) -> str:
    stage = next((stage for stage in STAGES if name.startswith(f"{stage}_")), "")
    return f"{title(stage)}: " if stage else ""


def _by_stage(metrics: Mapping[str, MetricResult]) -> dict[str, dict[str, MetricResult]]:
    found: dict[str, dict[str, MetricResult]] = {}
    for name, metric in metrics.items():
        stage = next((stage for stage in STAGES if name.startswith(f"{stage}_")), "")
        found.setdefault(stage, {})[name] = metric
    return dict(sorted(found.items(), key=lambda item: item[0] != "" and STAGES.index(item[0]) + 1))


def _numbered(names: Iterable[str]) -> list[tuple[str, int]]:
    return [(name, index) for index, name in enumerate(names, start=1)]


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
