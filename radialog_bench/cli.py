"""``radialog-bench``: measure any vision-language model on chest X-rays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialog_bench.commands.compare import compare
from radialog_bench.commands.config_file import ConfigFile
from radialog_bench.commands.leaderboard import leaderboard
from radialog_bench.commands.plan import show_plan
from radialog_bench.commands.score import merge, score
from radialog_bench.commands.settings import (
    BertscoreBaseline,
    BertscoreLayer,
    BertscoreModel,
    Protocols,
    TextMetrics,
    chosen_evaluations,
    end,
    say,
    text_settings,
)
from radialog_instruct.errors import ExitCode, UsageError
from radialog_instruct.terminal import run_app

if TYPE_CHECKING:
    from radialog_bench.config import RunConfig

app = typer.Typer(
    help="Measure any vision-language model on chest X-ray dialogs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    str | None,
    typer.Option(help="demo (the default), mimic-cxr, iu-xray, rad-restruct, or parquet: a built dataset."),
]
Root = Annotated[Path | None, typer.Option(help="Folder of the data.")]
Reports = Annotated[Path | None, typer.Option(help="MIMIC-CXR's reports, a zip file or a folder.")]
RadRestruct = Annotated[Path | None, typer.Option(help="Rad-ReStruct's folder, with iu-xray.")]
ImageRoot = Annotated[Path | None, typer.Option(help="Images of --data parquet.")]
Split = Annotated[str, typer.Option(help="train, validation, test or all.")]
Evaluations = Annotated[str | None, typer.Option("--evaluations", "-e", help="Comma list; all by default.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first samples of each evaluation.")]


@app.callback()
def _main() -> None:
    """Measure any vision-language model on chest X-ray dialogs."""


@app.command()
def run(
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="What `ls models` lists: a name, hf:REPO, openai:MODEL, file.py:Class, ..."),
    ],
    model_args: Annotated[
        list[str] | None, typer.Option(help="Arguments of the adapter as key=value; may be given several times.")
    ] = None,
    evaluations: Evaluations = None,
    data: Data = None,
    root: Root = None,
    reports: Reports = None,
    rad_restruct: RadRestruct = None,
    image_root: ImageRoot = None,
    split: Split = "test",
    limit: Limit = None,
    limit_to_images: Annotated[
        bool, typer.Option("--limit-to-images", help="Leave out samples whose image is missing or unreadable.")
    ] = False,
    labeler: Annotated[
        str | None, typer.Option(help="rules or chexbert; rules for the demo, chexbert for other data by default.")
    ] = None,
    chexbert: Annotated[
        Path | None, typer.Option(help="CheXbert's chexbert.pth; by default from the Hub (StanfordAIMI/RRG_scorers).")
    ] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="bert-base-uncased's vocab.txt for CheXbert.")] = None,
    protocols: Protocols = None,
    text_metrics: TextMetrics = None,
    bertscore_model: BertscoreModel = None,
    bertscore_layer: BertscoreLayer = None,
    bertscore_baseline: BertscoreBaseline = None,
    indication: Annotated[
        bool, typer.Option("--indication", help="Give the report prompt the clinical indication.")
    ] = False,
    image: Annotated[bool, typer.Option("--image/--no-image", help="Show the model the image.")] = True,
    tokens: Annotated[str, typer.Option(help="New tokens by turn as in the release v2 (300) or v1.")] = "v2",
    view_parser: Annotated[str, typer.Option(help="whole-word, or released for the released code's rule.")] = (
        "whole-word"
    ),
    findings_parser: Annotated[
        str, typer.Option(help="lower-cased, or released-v2 for the rule of the released code of v2.")
    ] = "lower-cased",
    on_error: Annotated[str, typer.Option(help="A failed sample: zero (worst answer), skip or fail.")] = "zero",
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples of the 95 % intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests handed to the model at once.")] = 8,
    window: Annotated[int, typer.Option(min=1, help="Dialogs in flight.")] = 64,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of the model in Ray actors (extra: ray).")] = 1,
    gpus_per_replica: Annotated[
        float | None, typer.Option(min=0, help="GPUs of a copy; one by default where the cluster has any.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Seconds the model may be silent: a program, a server's request or a copy is then "
            "given up and replaced; a model in this process ends the run, which can be resumed.",
        ),
    ] = None,
    sample_ids: Annotated[
        str | None, typer.Option(help="Only these samples: a comma list, or a file with an id a line.")
    ] = None,
    shard: Annotated[str | None, typer.Option(help="Only part i of n of the patients, as i/n; see merge.")] = None,
    include_text: Annotated[
        bool, typer.Option("--include-text", help="Show texts of credentialed sources on the report page.")
    ] = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Run folder; an unfinished run there is resumed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json instead of a table.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Load and check everything, count what would be asked, and stop.")
    ] = False,
    config_file: ConfigFile = None,
) -> None:
    """Ask the model, score its answers, write results.json and report.html."""
    from radialog_bench.run import as_command, run_benchmark
    from radialog_bench.selection import read_sample_ids

    del config_file  # its values came in as flags
    config = run_config(
        model=model,
        sample_ids=None if sample_ids is None else read_sample_ids(sample_ids),
        shard=shard,
        model_args=model_arguments(model_args or []),
        evaluations=chosen_evaluations(evaluations),
        data=data or "demo",
        root=root,
        split=split,
        limit=limit,
        limit_to_images=limit_to_images,
        labeler=labeler,
        chexbert=chexbert,
        vocabulary=vocabulary,
        reports=reports,
        rad_restruct=rad_restruct,
        image_root=image_root,
        **text_settings(protocols, text_metrics, bertscore_model, bertscore_layer, bertscore_baseline),
        indication=indication,
        image=image,
        tokens=tokens,
        view_parser=view_parser,
        findings_parser=findings_parser,
        on_error=on_error,
        bootstrap=bootstrap,
        seed=seed,
        batch_size=batch_size,
        window=window,
        replicas=replicas,
        gpus_per_replica=gpus_per_replica,
        timeout=timeout,
        include_text=include_text,
    )
    if data is None:
        say("no --data given, so the embedded demonstration collection is used")
    if dry_run:
        show_plan(config, output_dir, as_json=as_json)
        return
    with _progress() as progress:
        finished = run_benchmark(config, output_dir, as_command(), announce=say, progress=progress)
    if finished.from_log:
        say(f"{finished.from_log} answers were taken from the log, {finished.asked} were asked")
    end(finished, as_json=as_json)


@app.command("ls")
def list_things(
    what: Annotated[str, typer.Argument(help="models, evaluations, metrics or requests.")],
    data: Data = None,
    root: Root = None,
    reports: Reports = None,
    rad_restruct: RadRestruct = None,
    image_root: ImageRoot = None,
    split: Split = "test",
    evaluations: Evaluations = None,
    limit: Limit = None,
) -> None:
    """List models, evaluations, metrics, or the requests of a run as JSON lines (for answers made elsewhere)."""
    from radialog_bench.listing import evaluation_lines, metric_lines, model_lines, request_lines

    if what == "requests":
        names = chosen_evaluations(evaluations)
        config = run_config(
            model="constant",
            evaluations=names,
            data=data or "demo",
            root=root,
            reports=reports,
            rad_restruct=rad_restruct,
            image_root=image_root,
            split=split,
            limit=limit,
        )
        lines = request_lines(config)
    else:
        listers = {"models": model_lines, "evaluations": evaluation_lines, "metrics": metric_lines}
        if what not in listers:
            mend = f"choose from: {', '.join(listers)}, requests"
            raise UsageError(f"cannot list {what!r}", where="ls", mend=mend)
        lines = listers[what]()
    for line in lines:
        print(line)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A finished run folder.")],
    include_text: Annotated[bool, typer.Option("--include-text", help="Show texts of credentialed sources.")] = False,
) -> None:
    """Write the report page of a finished run again."""
    from radialog_bench.report import write_report

    print(write_report(folder, include_text=include_text))


@app.command()
def selfcheck(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model to check; without one, this installation is checked.")
    ] = None,
    model_args: Annotated[list[str] | None, typer.Option(help="Arguments of the adapter as key=value.")] = None,
) -> None:
    """Check that the bench scores as it should, or that a model keeps the adapters' contract."""
    from radialog_bench.selfcheck import check_installation, check_model

    found = check_model(model, model_arguments(model_args or [])) if model is not None else check_installation()
    print(found)
    if not found.passed:
        raise typer.Exit(int(ExitCode.MODEL if model is not None else ExitCode.FAILED_SAMPLES))


for command in (score, compare, merge, leaderboard):
    app.command()(command)


def run_config(**values: Any) -> RunConfig:
    """Build the run's configuration.

    Raises:
        UsageError: If a value is not allowed.
    """
    from pydantic import ValidationError

    from radialog_bench.config import RunConfig

    try:
        return RunConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageError(
            f"{first['input']!r}: {first['msg']}", where=flag, mend="see radialog-bench run --help"
        ) from error


def model_arguments(pairs: list[str]) -> dict[str, Any]:
    """Read key=value pairs; values are YAML scalars, so 4, 0.5, true and null have their types.

    Raises:
        UsageError: If a pair has no key or is given twice.
    """
    import yaml

    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{pair!r} is not key=value", where="--model-args", mend="for example: batch=4")
        if key in arguments:
            raise UsageError(f"{key!r} is given twice", where="--model-args", mend="give it once")
        # `off` is a mode's name here, not YAML 1.1's false.
        arguments[key] = value if value in ("on", "off", "yes", "no") else yaml.safe_load(value)
    return arguments


def _progress() -> Any:
    from radialog_bench.tables import progress_bar

    return progress_bar()


def main() -> None:
    """Entry point of the console script."""
    from radialog_bench.watchdog import leave

    leave(run_app(app, "radialog-bench"))


if __name__ == "__main__":
    main()
