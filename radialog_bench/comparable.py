"""Whether the numbers of two runs mean the same: every way in which they do not, in plain words."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from radialog_bench.results import EvaluationResult
from radialog_bench.stored import StoredRun, StoredStatistics, load_references

Statistics = Mapping[str, tuple[StoredStatistics, StoredStatistics]]
"""Evaluation -> the statistics of both runs."""


def differences(a: StoredRun, b: StoredRun, statistics: Statistics, metrics: Collection[str] | None) -> list[str]:
    """Return what makes two runs incomparable; nothing when they can be compared.

    Args:
        a: One run.
        b: The other.
        statistics: The statistics of the evaluations to compare.
        metrics: The metrics to compare, or None for all.

    Raises:
        DataError: If the samples of a run are missing or damaged.
    """
    one, two = a.results.data, b.results.data
    found = [
        f"{what} ({first} and {second})"
        for what, first, second in (("source", one.source, two.source), ("split", one.split, two.split))
        if first != second
    ]
    if one.manifest_sha256 != two.manifest_sha256:
        # A manifest covers all evaluations of a run, so runs with other evaluations beside the common ones are told
        # apart by the samples themselves.
        if a.results.evaluations.keys() == b.results.evaluations.keys():
            found.append(f"data manifest ({one.manifest_sha256[:12]} and {two.manifest_sha256[:12]})")
        else:
            found += [f"references of {name}" for name in statistics if _references_differ(a, b, name)]
    for name, (first, second) in statistics.items():
        left, right = a.results.evaluations[name], b.results.evaluations[name]
        if left.version != right.version:
            found.append(f"version of {name} ({left.version} and {right.version})")
        found += _sample_differences(name, first, second)
        found += _signature_differences(name, left, right, metrics)
    return found


def _references_differ(a: StoredRun, b: StoredRun, name: str) -> bool:
    first, second = load_references(a.folder, name), load_references(b.folder, name)
    return any(first[sample] != second[sample] for sample in first.keys() & second.keys())


def _sample_differences(name: str, a: StoredStatistics, b: StoredStatistics) -> list[str]:
    first, second = (dict(zip(side.ids, side.clusters, strict=True)) for side in (a, b))
    common = first.keys() & second.keys()
    found = []
    if len(common) < max(len(first), len(second)):
        found.append(f"samples of {name} ({len(first)} and {len(second)}, {len(common)} in common)")
    if any(first[sample] != second[sample] for sample in common):
        found.append(f"patients of {name}")
    return found


def _signature_differences(
    name: str, a: EvaluationResult, b: EvaluationResult, metrics: Collection[str] | None
) -> list[str]:
    changed: dict[tuple[str, str], list[str]] = {}
    for metric in a.metrics:
        if metric not in b.metrics or (metrics is not None and metric not in metrics):
            continue
        first, second = a.metrics[metric].signature, b.metrics[metric].signature
        if first != second:
            # Metrics of a family differ in the same part, which is named once.
            changed.setdefault(_parts(first, second), []).append(metric)
    return [
        f"signature of {name} {', '.join(names)} ({first} and {second})" for (first, second), names in changed.items()
    ]


def _parts(first: str, second: str) -> tuple[str, str]:
    one, two = first.split("|"), second.split("|")
    only_one, only_two = [part for part in one if part not in two], [part for part in two if part not in one]
    return "|".join(only_one) or first, "|".join(only_two) or second
