"""Writes ``report.html``: one self-contained page with scores, tables and samples.

Pictures are embedded, there is no script and no external asset. Texts of credentialed sources stay out unless the user
asks for them.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, UnidentifiedImageError
from pydantic import ValidationError

from radialog_bench.results import EvaluationResult, RunInfo, RunResults, SampleRecord
from radialog_instruct.assets import templates_dir
from radialog_instruct.errors import DataError
from radialog_instruct.files import replacing
from radialog_instruct.records import Terms

MAX_SAMPLES = 200
THUMBNAIL = 320
REPORT = "report.html"


@dataclass(frozen=True)
class _Sample:
    record: SampleRecord
    thumbnail: str | None
    no_image: str
    earlier: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class _Part:
    result: EvaluationResult
    title: str
    samples: tuple[_Sample, ...]
    hidden: int
    unavailable: tuple[str, ...]


def write_report(folder: Path, *, include_text: bool = False) -> Path:
    """Write the page of a finished run.

    Args:
        folder: The run folder.
        include_text: Show texts of a credentialed source; texts of other sources are always shown.

    Returns:
        The page's path.

    Raises:
        DataError: If the folder holds no finished run.
        UsageError: If the page cannot be written.
    """
    run = _load(folder / "run.json", RunInfo)
    results = _load(folder / "results.json", RunResults)
    show_text = include_text or results.data.terms is not Terms.CREDENTIALED
    environment = Environment(
        loader=FileSystemLoader(templates_dir() / "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        run=run,
        model=results.model,
        data=results.data,
        notices=(*results.data.notices, *results.model.notices),
        parts=[_part(folder, result) for result in results.evaluations.values()],
        show_text=show_text,
        command=shlex.join(_private(run.command)),
        shade=_shade,
    )
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / REPORT


def _part(folder: Path, result: EvaluationResult) -> _Part:
    path = folder / "samples" / f"{result.evaluation}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        records = [SampleRecord.model_validate_json(line) for line in lines[:MAX_SAMPLES]]
    except ValidationError as error:
        raise DataError("not a sample of this version", where=str(path), mend="run the benchmark again") from error
    return _Part(
        result=result,
        title=result.evaluation.replace("_", " ").capitalize(),
        samples=tuple(_sample(record) for record in records),
        hidden=len(lines) - len(records),
        unavailable=tuple(sorted({m.unavailable for m in result.metrics.values() if m.unavailable})),
    )


def _sample(record: SampleRecord) -> _Sample:
    answered = record.prediction is not None
    earlier = record.dialog[:-1] if answered else record.dialog
    if not record.images:
        return _Sample(record, None, "The image file is not on this machine", earlier)
    thumbnail = _thumbnail(Path(record.images[0]))
    return _Sample(record, thumbnail, "The image cannot be read", earlier)


def _thumbnail(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            small = image.convert("L")
            small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=75, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shade(cell: int, row: tuple[Any, ...]) -> str:
    """Return the opacity of a confusion cell: its share of the row, kept light enough for dark text."""
    total = sum(value for value in row[1:] if isinstance(value, int))
    return f"{0.45 * cell / total if total else 0:.3f}"


def _private(command: tuple[str, ...]) -> list[str]:
    # Folder names of this machine are nobody's business on a page that is passed on.
    return [Path(word).name if word.startswith("/") else word for word in command]


def _load(path: Path, kind: type[Any]) -> Any:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError("no finished run here", where=str(path), mend="run radialog-bench run first") from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise DataError("not a run of this version", where=str(path), mend="run the benchmark again") from error
