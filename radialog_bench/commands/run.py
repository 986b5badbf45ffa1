"""``radialog-bench run``: ask the model and score its answers."""

from __future__ import annotations

from radialog_bench.commands import options
from radialog_bench.commands.config_file import ConfigFile
from radialog_bench.commands.plan import show_plan
from radialog_bench.commands.settings import end, run_settings, say


def run(
    model: options.Model,
    model_args: options.ModelArgs = None,
    evaluations: options.Evaluations = None,
    data: options.Data = None,
    root: options.Root = None,
    reports: options.Reports = None,
    rad_restruct: options.RadRestruct = None,
    image_root: options.ImageRoot = None,
    split: options.Split = "test",
    limit: options.Limit = None,
    limit_to_images: options.LimitToImages = False,
    labeler: options.Labeler = None,
    chexbert: options.Chexbert = None,
    vocabulary: options.Vocabulary = None,
    protocols: options.Protocols = None,
    text_metrics: options.TextMetrics = None,
    bertscore_model: options.BertscoreModel = None,
    bertscore_layer: options.BertscoreLayer = None,
    bertscore_baseline: options.BertscoreBaseline = None,
    bertscore_prefix_space: options.BertscorePrefixSpace = None,
    indication: options.Indication = False,
    image: options.ShowImage = True,
    tokens: options.Tokens = "v2",
    view_parser: options.ViewParser = "whole-word",
    findings_parser: options.FindingsParser = "lower-cased",
    on_error: options.OnError = "zero",
    bootstrap: options.Bootstrap = 1000,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 8,
    window: options.Window = 64,
    replicas: options.Replicas = 1,
    gpus_per_replica: options.GpusPerReplica = None,
    timeout: options.Timeout = None,
    sample_ids: options.SampleIds = None,
    shard: options.Shard = None,
    include_text: options.IncludeText = False,
    output_dir: options.OutputDir = None,
    as_json: options.AsJson = False,
    dry_run: options.DryRun = False,
    config_file: ConfigFile = None,
) -> None:
    """Ask the model, score its answers, write results.json and report.html."""
    given = locals()
    from radialog_bench.run import as_command, run_benchmark
    from radialog_bench.tables import progress_bar

    config = run_settings(given)
    if data is None:
        say("no --data given, so the embedded demonstration collection is used")
    if dry_run:
        show_plan(config, output_dir, as_json=as_json)
        return
    with progress_bar() as progress:
        finished = run_benchmark(config, output_dir, as_command(), announce=say, progress=progress)
    if finished.from_log:
        say(f"{finished.from_log} answers were taken from the log, {finished.asked} were asked")
    end(finished, as_json=as_json)
