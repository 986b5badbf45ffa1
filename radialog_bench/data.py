"""The data of a run: samples, which of them have images, and a hash of what is evaluated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from hashlib import sha256

from radialog_bench.adapters.base import Adapter, BenchContext, image_key
from radialog_bench.chat import Request
from radialog_bench.config import RunConfig
from radialog_bench.evaluations import EVALUATIONS, EvalSample, Evaluation, LeftOut
from radialog_bench.evaluations.rad_restruct import RadReStruct
from radialog_bench.labelers import LabelMany
from radialog_bench.parquet_source import ParquetReader
from radialog_bench.results import DataInfo
from radialog_bench.selection import Selection, parse_shard
from radialog_instruct.config import SourcePlaces
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.findings import findings_text, positives
from radialog_instruct.records import Study
from radialog_instruct.sources import SOURCES, Reader
from radialog_instruct.sources.images import check_image
from radialog_instruct.sources.rad_restruct import RadReStructReader

PARQUET = "parquet"
"""``--data`` for a built dataset."""
NO_RAD_RESTRUCT = "rad_restruct has no sample here: give iu-xray's structured reports with --rad-restruct DIR."
BANNER = (
    "The embedded demonstration collection is a few dozen open X-rays with synthetic reports, not a radiologist's; "
    "scores on it show that the software works and say nothing about a model's quality."
)


@dataclass(frozen=True)
class EvaluationData:
    """One evaluation with its samples.

    Attributes:
        evaluation: The evaluation.
        samples: The samples, in the source's order.
        left_out: What gives no sample, by reason.
    """

    evaluation: Evaluation
    samples: tuple[EvalSample, ...]
    left_out: dict[str, int]

    def of(self, samples: Iterable[EvalSample]) -> EvaluationData:
        """Return the same evaluation with some of its samples."""
        return replace(self, samples=tuple(samples))


@dataclass(frozen=True)
class RunData:
    """All data of a run."""

    reader: Reader
    info: DataInfo
    parts: tuple[EvaluationData, ...]


def load_data(config: RunConfig, adapter: Adapter) -> RunData:
    """Read the studies of the split and make every evaluation's samples.

    Args:
        config: The run.
        adapter: The model, which says whether it needs images.

    Raises:
        DataError: If the source cannot be read, has no study in the split, or images are missing that the model needs.
    """
    reader, chosen = open_reader(config), evaluations(config)
    studies = [study for study in reader.studies() if any(_belongs(study, kind, config) for kind in chosen)]
    if not studies:
        raise DataError(
            f"no study in the split {config.split!r}", where=str(reader.root), mend="choose another --split"
        )
    limits = config.image and (config.limit_to_images or adapter.limits_to_images)
    needed = adapter.needs_images and config.image
    images = _Images(limits, checked=limits or needed)
    shard = parse_shard(config.shard) if config.shard is not None else None
    selection = Selection(config.sample_ids, shard, limited=config.limit is not None)
    parts = tuple(_part(kind, studies, config, images, selection) for kind in chosen)
    selection.check_names()
    if config.sample_ids is not None:
        parts = tuple(part for part in parts if part.samples)
    if needed and not limits:
        _require_images(parts, images.faults)
    notices: tuple[str, ...] = ()
    if reader.name == "demo" and (config.root is None or config.data == PARQUET):
        notices += (BANNER,)
    if config.data == "iu-xray" and config.rad_restruct is None and RadReStruct.name in config.evaluations:
        notices += (NO_RAD_RESTRUCT,)
    info = DataInfo(
        source=reader.name,
        split=config.split,
        terms=reader.terms,
        manifest_sha256=manifest_sha256(parts),
        n_studies=len({sample.study.study_id for part in parts for sample in part.samples}),
        notices=notices,
    )
    return RunData(reader, info, parts)


def open_reader(config: RunConfig) -> Reader:
    """Open the source of a run.

    Raises:
        RadialogError: As ``open_source``.
    """
    known = (*SOURCES, RadReStructReader.name, PARQUET)
    if config.data not in known:
        close = get_close_matches(config.data, known, n=1, cutoff=0.4) or known
        raise UsageError(f"no data {config.data!r}", where="--data", mend=f"did you mean {' or '.join(close)}?")
    if config.data == PARQUET:
        if config.root is None:
            raise UsageError("a dataset's folder is needed", where="--data parquet", mend="give --root DATASET")
        return ParquetReader(config.root, config.image_root)
    if config.image_root is not None:
        raise UsageError("it belongs to --data parquet", where="--image-root", mend="leave it out")
    if config.data == RadReStructReader.name:
        if config.rad_restruct is not None:
            raise UsageError("it belongs to --data iu-xray", where="--rad-restruct", mend="give the folder with --root")
        return RadReStructReader(config.root)
    places = SourcePlaces(root=config.root, reports=config.reports, rad_restruct=config.rad_restruct)
    return places.open(config.data, "rules" if config.labeler == "rules" else None)


def evaluations(config: RunConfig) -> tuple[Evaluation, ...]:
    """Return the configured evaluations.

    Raises:
        UsageError: If one of their switches has an unknown value.
    """
    return tuple(kind(config.options()) for kind in EVALUATIONS if kind.name in config.evaluations)


def bench_context(data: RunData, config: RunConfig, label_many: LabelMany | None) -> BenchContext:
    """Return what baselines may know.

    Args:
        data: The run's data.
        config: The run.
        label_many: The run's labeler, or None without one.
    """
    by_evaluation = {
        part.evaluation.name: {image_key(sample.id): (part.evaluation, sample) for sample in part.samples}
        for part in data.parts
    }
    anywhere = {key: found for known in by_evaluation.values() for key, found in known.items()}

    def studies() -> Iterator[Study]:
        return data.reader.studies()

    def answer(request: Request) -> str:
        # A report that another evaluation asks for has the id of the report generation evaluation.
        known = by_evaluation.get(request.id.partition("/")[0], anywhere)
        key = image_key(request.id)
        evaluation, sample = known.get(key) or anywhere[key]
        return evaluation.reference_answer(sample, request, label_many)

    labelled = {key: next(iter(sample.study.labels.values()), None) for key, (_, sample) in anywhere.items()}
    return BenchContext(
        answer=answer,
        study_of={key: (sample.study.study_id, sample.study.subject_id) for key, (_, sample) in anywhere.items()},
        findings={key: findings_text(positives(labels)) for key, labels in labelled.items() if labels is not None},
        studies=studies,
        split=config.split,
        terms=data.info.terms,
    )


@dataclass(frozen=True)
class _Images:
    """What is known of the images: whether samples without a usable one are left out, and why one is not usable."""

    limits: bool
    checked: bool
    faults: dict[str, str | None] = field(default_factory=dict)

    def fault(self, sample: EvalSample) -> str | None:
        file, name = sample.image.file, sample.image.image_id
        if self.checked and name not in self.faults:
            self.faults[name] = "image file missing" if file is None else check_image(file)
        return self.faults.get(name)


def _part(
    evaluation: Evaluation, studies: list[Study], config: RunConfig, images: _Images, selection: Selection
) -> EvaluationData:
    samples: list[EvalSample] = []
    left_out: Counter[str] = Counter()
    wanted = (study for study in studies if _belongs(study, evaluation, config))
    for item in selection.chosen(evaluation.samples(wanted)):
        if isinstance(item, LeftOut):
            left_out[item.reason] += 1
            continue
        reason = images.fault(item)
        if reason is not None and images.limits:
            left_out[reason] += 1
        else:
            samples.append(item)
    if config.limit is not None and len(samples) > config.limit:
        left_out["beyond --limit"] = len(samples) - config.limit
        samples = samples[: config.limit]
    samples = selection.within_limit(samples, left_out)
    return EvaluationData(evaluation, tuple(samples), dict(sorted(left_out.items())))


def _belongs(study: Study, evaluation: Evaluation, config: RunConfig) -> bool:
    return config.split in ("all", evaluation.split_of(study).value)


def _require_images(parts: tuple[EvaluationData, ...], broken: dict[str, str | None]) -> None:
    images = {sample.image.image_id: sample.image for part in parts for sample in part.samples}
    faults = {name: reason for name in images if (reason := broken[name]) is not None}
    if faults:
        first, reason = min(faults.items())
        raise DataError(
            f"{len(faults)} of {len(images)} images cannot be used ({reason}, first {first})",
            where=images[first].path,
            mend="complete the image folder, or leave those samples out with --limit-to-images",
        )


def manifest_sha256(parts: Iterable[EvaluationData]) -> str:
    """Return a hash over ids, references and image names of all samples, evaluation by evaluation."""
    hasher = sha256()
    for part in parts:
        for sample in part.samples:
            hasher.update(repr((sample.id, sample.reference, sample.image.path)).encode())
    return hasher.hexdigest()
