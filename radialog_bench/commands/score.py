"""``radialog-bench score`` and ``merge``: new scores from answers that are already there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radialog_bench.commands import options
from radialog_bench.commands.config_file import ConfigFile
from radialog_bench.commands.settings import chosen_evaluations, end, replacing_settings, say, text_settings
from radialog_instruct.errors import UsageError

Root = Annotated[Path | None, typer.Option(help="Folder of the data, where it moved.")]
Reports = Annotated[Path | None, typer.Option(help="MIMIC-CXR's reports, where they moved.")]
RadRestruct = Annotated[Path | None, typer.Option(help="Rad-ReStruct's folder, where it moved.")]
ImageRoot = Annotated[Path | None, typer.Option(help="Images of --data parquet, where they moved.")]

_SCORING = ("labeler", "chexbert", "vocabulary", "on_error", "bootstrap", "seed", "include_text")
_ASKING = ("view_parser", "findings_parser", "root", "reports", "rad_restruct", "image_root")
"""Settings that mean nothing to pairs of texts."""


def score(
    run: Annotated[Path | None, typer.Argument(help="A run folder; its answers are scored, no model is asked.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="JSON lines with id, prediction and reference: texts made anywhere.")
    ] = None,
    evaluations: options.Evaluations = None,
    labeler: Annotated[str | None, typer.Option(help="rules or chexbert.")] = None,
    chexbert: options.Chexbert = None,
    vocabulary: options.Vocabulary = None,
    protocols: options.Protocols = None,
    text_metrics: options.TextMetrics = None,
    bertscore_model: options.BertscoreModel = None,
    bertscore_layer: options.BertscoreLayer = None,
    bertscore_baseline: options.BertscoreBaseline = None,
    bertscore_prefix_space: options.BertscorePrefixSpace = None,
    view_parser: Annotated[str | None, typer.Option(help="whole-word or released.")] = None,
    findings_parser: Annotated[str | None, typer.Option(help="lower-cased or released-v2.")] = None,
    on_error: Annotated[str | None, typer.Option(help="A failed sample: zero, skip or fail.")] = None,
    bootstrap: Annotated[int | None, typer.Option(min=0, help="Resamples of the 95 % intervals.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the bootstrap.")] = None,
    root: Root = None,
    reports: Reports = None,
    rad_restruct: RadRestruct = None,
    image_root: ImageRoot = None,
    include_text: options.IncludeText = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Folder of the new scores; RUN-scored by default.")
    ] = None,
    as_json: options.AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Score answers again without the model: those of a run, or pairs of texts from a file.

    A setting that is not given stays as it was in the run.
    """
    given = locals()
    from radialog_bench.rescore import score_again
    from radialog_bench.run import as_command
    from radialog_bench.score_pairs import score_pairs
    from radialog_bench.tables import progress_bar

    source = run if pairs is None else pairs
    if source is None or (run is not None and pairs is not None):
        raise UsageError("give a run folder or --pairs FILE, one of them", where="score", mend="see score --help")
    scoring = {name: given[name] for name in _SCORING} | text_settings(given)
    asking = {name: given[name] for name in _ASKING}
    asking["evaluations"] = None if evaluations is None else chosen_evaluations(evaluations)
    place = source.resolve() if source.name in ("", "..") else source
    output = output_dir or place.with_name(f"{place.name if pairs is None else place.stem}-scored")
    if pairs is not None:
        stray = [name for name, value in asking.items() if value is not None]
        if stray:
            mend = "leave it out"
            raise UsageError("means nothing with --pairs", where=f"--{stray[0].replace('_', '-')}", mend=mend)
        finished = score_pairs(pairs, output, replacing_settings(**scoring), as_command(), announce=say)
    else:
        changed = replacing_settings(**scoring, **asking)
        with progress_bar() as progress:
            finished = score_again(source, output, changed, as_command(), announce=say, progress=progress)
    end(finished, as_json=as_json)


def merge(
    shards: Annotated[list[Path], typer.Argument(help="The run folders of all shards.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder of the whole run.")],
    root: Root = None,
    reports: Reports = None,
    rad_restruct: RadRestruct = None,
    image_root: ImageRoot = None,
    chexbert: options.Chexbert = None,
    vocabulary: options.Vocabulary = None,
    include_text: options.IncludeText = False,
    as_json: options.AsJson = False,
) -> None:
    """Put the shards of a run together and score the whole: results.json is that of a run without shards."""
    from radialog_bench.rescore import merge_shards
    from radialog_bench.run import as_command
    from radialog_bench.tables import progress_bar

    changed = replacing_settings(
        root=root,
        reports=reports,
        rad_restruct=rad_restruct,
        image_root=image_root,
        chexbert=chexbert,
        vocabulary=vocabulary,
        include_text=include_text,
    )
    with progress_bar() as progress:
        finished = merge_shards(shards, output_dir, changed, as_command(), announce=say, progress=progress)
    end(finished, as_json=as_json)
