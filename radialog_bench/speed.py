"""How fast the model answered: kept in ``run.json``, added up over the sittings of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from radialog_bench.environment import machine
from radialog_bench.labelers import LabelMany
from radialog_bench.results import RunInfo, Speed
from radialog_instruct.files import write_json
from radialog_instruct.findings import Labels


class Stopwatch:
    """Measures the time a model takes for an evaluation: that of the dialogs without that of their labels.

    Attributes:
        seconds: What it measured so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    def without(self, label_many: LabelMany) -> LabelMany:
        """Return a labeler whose time does not count."""

        def label(texts: Sequence[str]) -> list[Labels]:
            start = time.perf_counter()
            try:
                return label_many(texts)
            finally:
                self.seconds -= time.perf_counter() - start

        return label


def speed_of(asked: int, seconds: float, usage: Mapping[str, float], earlier: Speed | None = None) -> Speed | None:
    """Return the speed of an evaluation over all sittings; None where nothing was ever asked.

    Args:
        asked: Requests sent to the model in this sitting.
        seconds: The time they took.
        usage: Sums of what the adapter counted.
        earlier: The speed of earlier sittings.
    """
    if not asked:
        return earlier
    total = dict(earlier.usage) if earlier is not None else {}
    for name, value in usage.items():
        total[name] = round(total.get(name, 0.0) + value, 6)
    asked += earlier.asked if earlier is not None else 0
    seconds = round(seconds + (earlier.seconds if earlier is not None else 0.0), 4)
    tokens = total.get("new_tokens")
    return Speed(
        asked=asked,
        seconds=seconds,
        seconds_per_request=round(seconds / asked, 6),
        usage=total,
        new_tokens_per_second=round(tokens / seconds, 2) if tokens and seconds else None,
    )


def write_speed(path: Path, info: RunInfo, found: Mapping[str, Speed]) -> None:
    """Add what a sitting took to ``run.json``; a sitting that asked nothing leaves it as it is.

    Args:
        path: The file.
        info: What it holds.
        found: Speed by evaluation over all sittings.
    """
    if all(info.speed.get(name) == speed for name, speed in found.items()):
        return
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    update = {"speed": {**info.speed, **found}, "finished": finished, "machine": machine()}
    write_json(path, info.model_copy(update=update).model_dump(mode="json"))
