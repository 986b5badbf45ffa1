"""The build at the size of RaDialog-Instruct, against datasets' own way with the same reader and tasks.

python benchmarks/build_scale.py SCRATCH benchmarks/results/build_scale.json [--studies 227835]

SCRATCH gets synthetic trees (radialog-instruct synth-mimic --images none) and everything that is built; it needs about
4 GB. Measured in one run: the whole command on two processes, time and memory over all processes; the same dataset by
Dataset.from_generator and to_parquet on one and on two processes; the two writers alone on prepared rows; and the
command at a quarter and a sixteenth of the size.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prepared
from machine import describe
from processes import Measured, measure

from radialog_instruct.build.columns import ColumnBuffer
from radialog_instruct.build.crew import Shards
from radialog_instruct.build.engine import open_reader, plan_dataset
from radialog_instruct.build.schema import arrow_schema
from radialog_instruct.build.shards import ParquetFile, build_tasks
from radialog_instruct.config import BuildConfig, BuildPlaces, ContextPolicy, SourcePlaces
from radialog_instruct.findings import findings_text, positives
from radialog_instruct.ids import sample_id
from radialog_instruct.mixtures import load_mixture
from radialog_instruct.records import Sample
from radialog_instruct.tasks import Skip
from radialog_instruct.tasks.selection import Selection

HERE = Path(__file__).parent
SHARDS = 16
WRITER_ROWS = 60_000
Row = dict[str, Any]


def row_of(sample: Sample, labeler: str) -> Row:
    """Return a sample as datasets wants it: a dictionary."""
    study, image = sample.study, sample.image
    labels = study.labels.get(labeler)
    return {
        "id": sample_id(sample.task, study.source, study.study_id, image.image_id if image else "", sample.slot),
        "task": sample.task,
        "messages": [{"role": turn.role, "content": turn.content} for turn in sample.turns],
        "image_paths": [image.path] if image else [],
        "source": study.source,
        "terms": study.terms.value,
        "split": sample.split.value,
        "subject_id": study.subject_id,
        "study_id": study.study_id,
        "image_ids": [image.image_id] if image else [],
        "view": image.view.value if image and image.view else None,
        "target_source": sample.target_source.value,
        "findings_text": findings_text(positives(labels)) if labels is not None else None,
        "finding_labels": list(labels) if labels is not None else None,
        "labeler": labeler if labels is not None else None,
        "indication": study.sections.indication,
        "context": "full",
        "report_turn": sample.report_turn,
        "template_id": sample.template.template_id,
        "template_version": sample.template.version,
        "template_hash": sample.template.hash,
        "generator": None,
        "quality": {"flags": [], "judge_score": None},
    }


def configuration(tree: Path, out: Path, workers: int) -> tuple[BuildConfig, BuildPlaces]:
    """Return what is built, and where."""
    mixture = load_mixture(str(HERE / "mixtures" / "scale.yaml"))
    source = SourcePlaces(root=tree / "mimic-cxr-jpg", reports=tree / "mimic-cxr", mimic_nle=tree / "mimic-nle")
    config = BuildConfig(source="mimic-cxr", mixture=mixture, labeler="chexpert", shards=SHARDS)
    return config, BuildPlaces(source=source, out=out, workers=workers)


def command(tree: Path, out: Path, workers: int) -> list[str]:
    """Return the build as a user types it."""
    program = [sys.executable, "-m", "radialog_instruct.cli", "build", "--source", "mimic-cxr"]
    places = ["--root", tree / "mimic-cxr-jpg", "--reports", tree / "mimic-cxr", "--mimic-nle", tree / "mimic-nle"]
    rest = ["--mixture", HERE / "mixtures" / "scale.yaml", "--shards", SHARDS, "--workers", workers, "--out", out]
    return [str(part) for part in (*program, *places, *rest, "--json")]


def peer_rows(state: str, shards: list[int]) -> Iterator[Row]:
    """Yield the rows of shards, with this project's reader and tasks; the reader comes as a file, not in a closure."""
    config, reader, selection = pickle.loads(Path(state).read_bytes())
    tasks, owner = build_tasks(config, BuildPlaces(out=Path()), selection), Shards(SHARDS)
    for shard in shards:
        for study in reader.studies(owner.keep(shard)):
            for task in tasks:
                for sample in task.samples(study):
                    if not isinstance(sample, Skip):
                        yield row_of(sample, config.labeler)


def peer(tree: Path, scratch: Path, processes: int) -> None:
    """Build the dataset with datasets' own means."""
    from datasets import Dataset, Features

    config, places = configuration(tree, scratch, processes)
    plan = plan_dataset(config, places)
    state = scratch / "state.pickle"
    state.write_bytes(pickle.dumps((config, open_reader(config, places), plan.selection)))
    dataset = Dataset.from_generator(
        peer_rows,
        features=Features.from_arrow_schema(arrow_schema()),
        cache_dir=str(scratch / "cache"),
        gen_kwargs={"state": str(state), "shards": list(range(SHARDS))},
        num_proc=processes if processes > 1 else None,
    )
    dataset.to_parquet(str(scratch / "all.parquet"))
    print(json.dumps({"rows": dataset.num_rows, "planned": plan.total()}))


def writers(tree: Path, scratch: Path) -> dict[str, float]:
    """Time the two writers on the same prepared rows."""
    from datasets import Dataset, Features

    config, places = configuration(tree, scratch, 1)
    reader, tasks, owner = open_reader(config, places), build_tasks(config, None, Selection()), Shards(SHARDS)
    samples: list[Sample] = []
    for study in reader.studies(owner.keep(0)):
        for task in tasks:
            samples += [s for s in task.samples(study) if not isinstance(s, Skip)]
        if len(samples) >= WRITER_ROWS:
            break
    samples = samples[:WRITER_ROWS]
    prepared.ROWS.extend(row_of(sample, config.labeler) for sample in samples)
    ours, theirs = [], []
    for repeat in range(3):
        start = time.perf_counter()
        schema = arrow_schema()
        buffer = ColumnBuffer(schema, config.labeler, ContextPolicy.FULL, 0)
        file = ParquetFile("ours", scratch / "ours.parquet", schema, buffer)
        for sample in samples:
            file.add(sample)
        file.close()
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        dataset = Dataset.from_generator(
            prepared.rows,
            features=Features.from_arrow_schema(arrow_schema()),
            cache_dir=str(scratch / f"writer{repeat}"),
        )
        dataset.to_parquet(str(scratch / "theirs.parquet"))
        theirs.append(time.perf_counter() - start)
    return {
        "rows": len(samples),
        "rows_per_second_ours": round(len(samples) / min(ours)),
        "rows_per_second_datasets": round(len(samples) / min(theirs)),
        "ratio": round(min(theirs) / min(ours), 1),
    }


def shown(measured: Measured) -> dict[str, float]:
    """Return a measurement as numbers for the result."""
    return {
        "seconds": round(measured.seconds, 1),
        "peak_megabytes": round(measured.peak_bytes / 1e6),
        "processes": measured.processes,
    }


def main(scratch: Path, output: Path, studies: int) -> None:
    """Measure everything and write the result."""
    trees = {}
    for part in (1, 4, 16):
        trees[part] = scratch / f"tree-{studies // part}"
        if not trees[part].is_dir():
            synth = [sys.executable, "-m", "radialog_instruct.cli", "synth-mimic", "--images", "none"]
            measure([*synth, "--studies", str(studies // part), "--out", str(trees[part])])
    result: dict[str, Any] = {"machine": describe(), "studies": studies}
    for part, tree in trees.items():
        shutil.rmtree(scratch / "built", ignore_errors=True)
        measured = measure(command(tree, scratch / "built", 2))
        rows = json.loads(measured.output[measured.output.index("{") :])["total"]
        result[f"build_1/{part}"] = {"studies": studies // part, "rows": rows, **shown(measured)}
        print(json.dumps({f"1/{part}": result[f"build_1/{part}"]}), flush=True)
    whole, least = result["build_1/1"], result["build_1/16"]
    grown = (whole["peak_megabytes"] - least["peak_megabytes"]) * 1e6
    result["bytes_a_study_and_process"] = round(grown / (whole["studies"] - least["studies"]) / whole["processes"])
    for processes in (1, 2):
        place = scratch / f"peer{processes}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        own = [sys.executable, __file__, str(scratch), str(output), "--peer", str(processes)]
        measured = measure([*own, "--tree", str(trees[1])])
        result[f"datasets_{processes}"] = shown(measured)
        result[f"ratio_to_datasets_{processes}"] = round(measured.seconds / whole["seconds"], 2)
        print(json.dumps({f"datasets {processes}": shown(measured)}), flush=True)
        shutil.rmtree(place)
    result["writer"] = writers(trees[1], scratch)
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--studies", type=int, default=227_835)
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--writer-only", action="store_true", help="measure the writers again, keep the rest")
    given = parser.parse_args()
    if given.writer_only:
        kept = json.loads(given.output.read_text())
        kept["writer"] = writers(given.scratch / f"tree-{given.studies}", given.scratch)
        given.output.write_text(json.dumps(kept, indent=2) + "\n")
        print(json.dumps(kept["writer"]))
    elif given.peer:
        peer(given.tree, given.scratch / f"peer{given.peer}", given.peer)
    else:
        given.scratch.mkdir(parents=True, exist_ok=True)
        main(given.scratch, given.output, given.studies)
