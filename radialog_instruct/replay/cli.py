"""The commands ``replay`` and ``cache``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from radialog_instruct.build.options import (
    Chexbert,
    Drafts,
    ImagesChoice,
    Judge,
    Labeler,
    LabelFiles,
    MimicNle,
    MixtureName,
    OverlapChoice,
    RadReStruct,
    Reports,
    Root,
    Seed,
    Settings,
    Source,
    SplitFile,
    Tasks,
    Templates,
    Vocabulary,
    Workers,
    configure,
)
from radialog_instruct.config import ImagePolicy
from radialog_instruct.errors import UsageError
from radialog_instruct.tasks import Overlap


class BackendName(StrEnum):
    """The backends of ``--backend``."""

    ECHO = "echo"
    OPENAI = "openai"
    VLLM = "vllm"
    BATCHFILE = "batchfile"
    RAY = "ray"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Caches = Annotated[list[Path], typer.Argument(help="Caches (.sqlite) and exports (.jsonl).", show_default=False)]


def replay(
    out: Annotated[Path, typer.Option(help="The replay folder; a rerun asks only for what is missing.")],
    backend: Annotated[BackendName, typer.Option(help="What answers.")],
    model: Annotated[
        str | None, typer.Option(help="Repository or folder of the LLM; its identity is part of every answer's key.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of the repository; a commit pins it.")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="Chat template instead of the model's own (vllm, ray).")
    ] = None,
    source: Source = "demo",
    root: Root = None,
    reports: Reports = None,
    mimic_nle: MimicNle = None,
    rad_restruct: RadReStruct = None,
    labels: LabelFiles = None,
    labeler: Labeler = None,
    split_file: SplitFile = None,
    mixture: MixtureName = "paper",
    settings: Settings = None,
    tasks: Tasks = None,
    drafts: Drafts = None,
    judge: Judge = "rules",
    chexbert: Chexbert = None,
    vocabulary: Vocabulary = None,
    overlap: OverlapChoice = Overlap.STRICT,
    images: ImagesChoice = ImagePolicy.REFERENCE,
    seed: Seed = 0,
    workers: Workers = 1,
    templates: Templates = None,
    temperature: Annotated[float, typer.Option(help="Of a sample's first request; 0 is greedy.")] = 0.0,
    retry_temperature: Annotated[float, typer.Option(help="Of further requests, after a rejected answer.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Nucleus.")] = 0.95,
    attempts: Annotated[int, typer.Option(min=1, max=20, help="Requests a sample may cost.")] = 3,
    llm_judge: Annotated[
        bool, typer.Option("--llm-judge", help="Also ask the LLM about every answer that passed the other checks.")
    ] = False,
    structured: Annotated[
        bool, typer.Option("--structured/--no-structured", help="Hold yes/no answers to their form (vLLM's servers).")
    ] = True,
    worker: Annotated[
        str | None, typer.Option(help="i/n: only the i-th of n parts of the samples, i from 0, for job arrays.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first samples, to try a model.")] = None,
    base_url: Annotated[str, typer.Option(help="openai: the server, up to /v1.")] = "http://127.0.0.1:8000/v1",
    served_model: Annotated[
        str | None, typer.Option(help="openai, batchfile: the model's name there, if it is not --model.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="openai: requests at a time.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, help="openai: seconds for one request.")] = 600.0,
    retries: Annotated[int, typer.Option(min=0, help="openai: further tries of a request that may succeed later.")] = 6,
    backoff: Annotated[float, typer.Option(min=0.001, help="openai: seconds before the first of them.")] = 1.0,
    zero_retention: Annotated[
        list[str] | None, typer.Option(help="Host that keeps nothing by contract; credentialed reports may go there.")
    ] = None,
    api_key_env: Annotated[str, typer.Option(help="openai: environment variable with the key.")] = "OPENAI_API_KEY",
    batch_command: Annotated[
        str | None, typer.Option(help="batchfile: command with {input} and {output}; without it you run the files.")
    ] = None,
    batch_engine: Annotated[str, typer.Option(help="batchfile: engine and version, for the record.")] = "unknown",
    tensor_parallel: Annotated[int, typer.Option(min=1, help="vllm, ray: GPUs a copy of the model takes.")] = 1,
    data_parallel: Annotated[int, typer.Option(min=1, help="vllm: copies of the model.")] = 1,
    max_model_len: Annotated[int | None, typer.Option(min=16, help="vllm, ray: longest prompt with answer.")] = None,
    chunk: Annotated[int, typer.Option(min=1, help="vllm: requests that are kept together.")] = 4096,
    engine_arg: Annotated[
        list[str] | None, typer.Option(help="vllm, ray: NAME=VALUE of vllm.LLM, e.g. dtype=bfloat16; repeatable.")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="ray: the cluster; else one on this machine.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="ray: copies of the engine.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="ray: requests a copy takes at a time.")] = 64,
    as_json: AsJson = False,
) -> int:
    """Have an LLM write the answers of correction, summarization, easy language and region QA."""
    from radialog_instruct.replay.identity import UNPINNED
    from radialog_instruct.replay.progress import shown_replay
    from radialog_instruct.replay.runner import ReplayJob, run_replay
    from radialog_instruct.replay.start import backend_factory, policy_of
    from radialog_instruct.replay.summary import print_summary

    given = locals()
    config, places = configure(given, out)
    policy = policy_of(given)
    if policy.identity.revision == UNPINNED:
        print(f"note: {model} is not pinned: --revision COMMIT says which weights answered", file=sys.stderr)
    job = ReplayJob(policy, out, worker_of(worker), limit)
    factory = backend_factory(given, config.source, places)
    with shown_replay() as progress:
        summary = run_replay(config, places, job, factory, progress)
    print_summary(summary, out, as_json=as_json)
    return int(summary.exit_code())


cache_app = typer.Typer(help="Look at, export, import and merge the answers of replays.", no_args_is_help=True)


@cache_app.command("info")
def info(caches: Caches) -> None:
    """Print the number of answers and the models that wrote them."""
    from radialog_instruct.replay.folder import open_answers

    for path in caches:
        with open_answers(path) as cache:
            print(f"{path}: {len(cache):,} answers")
            for identity in cache.identities():
                template = f", chat template {identity.chat_template}" if identity.chat_template else ""
                print(f"  {identity.model} at {identity.revision}{template}")


@cache_app.command("export")
def export(
    cache: Annotated[Path, typer.Argument(help="A cache.", show_default=False)],
    out: Annotated[Path, typer.Option(help="JSON lines, ordered by key.")],
) -> None:
    """Write a cache as JSON lines: text that can be read, compared and kept under version control."""
    from radialog_instruct.replay.folder import open_answers
    from radialog_instruct.replay.transfer import export_answers

    with open_answers(cache) as opened:
        print(f"{export_answers(opened, out):,} answers in {out}")


@cache_app.command("merge")
def merge(caches: Caches, out: Annotated[Path, typer.Option(help="The cache that takes all answers.")]) -> None:
    """Add the answers of caches and exports to a cache; what it has stays as it is."""
    from radialog_instruct.replay.transfer import merge_files

    merged = merge_files(out, caches)
    print(
        f"{merged.added:,} answers added to {out}, {merged.known:,} were there, {merged.other_text:,} of them otherwise"
    )


@cache_app.command("import")
def import_(
    exports: Annotated[list[Path], typer.Argument(help="Exports (.jsonl).", show_default=False)],
    out: Annotated[Path, typer.Option(help="The cache that takes all answers.")],
) -> None:
    """Add exported answers to a cache; the same as merge."""
    merge(exports, out)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("replay")(replay)
    app.add_typer(cache_app, name="cache")


def worker_of(text: str | None) -> tuple[int, int] | None:
    """Read "i/n".

    Raises:
        UsageError: If it is no such pair.
    """
    if text is None:
        return None
    number, slash, workers = text.partition("/")
    if not slash or not number.isdecimal() or not workers.isdecimal() or int(number) >= int(workers):
        raise UsageError(f"{text!r} is no part", where="--worker", mend="for example 0/4, 1/4, 2/4 and 3/4")
    return int(number), int(workers)


def engine_arguments(given: list[str] | None) -> dict[str, Any]:
    """Read NAME=VALUE pairs; values are YAML, so that numbers, booleans and JSON are themselves.

    Raises:
        UsageError: If one is no pair.
    """
    arguments: dict[str, Any] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{pair!r} is no argument", where="--engine-arg", mend="for example dtype=bfloat16")
        try:
            arguments[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"{value!r} is no value", where=f"--engine-arg {name}") from error
    return arguments
