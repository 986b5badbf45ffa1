"""Which samples a run takes: those named by ``--sample-ids``, the patients of a ``--shard``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from radialog_bench.evaluations import EvalSample, LeftOut
from radialog_instruct.errors import UsageError
from radialog_instruct.ids import shard_of

NOT_NAMED = "not in --sample-ids"
OTHER_SHARD = "in another shard"


@dataclass(frozen=True)
class Shard:
    """One of several parts of a run's patients; the same patient lies in the same part of every evaluation.

    Attributes:
        index: From 1 to count.
        count: How many parts there are.
    """

    index: int
    count: int

    def holds(self, sample: EvalSample) -> bool:
        """Tell whether a sample's patient belongs to this part."""
        return shard_of(sample.study.subject_id, self.count) == self.index - 1


def parse_shard(text: str) -> Shard:
    """Read ``i/n``.

    Raises:
        UsageError: If it is not a shard.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"{text!r} is not a shard", where="--shard", mend="for example 1/4, 2/4, 3/4 and 4/4")
    return Shard(int(match[1]), int(match[2]))


def read_sample_ids(text: str) -> tuple[str, ...]:
    """Read sample ids from a file with one a line, or from a comma list.

    Raises:
        UsageError: If there are none, or the file cannot be read.
    """
    path = Path(text)
    try:
        names = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read sample ids ({error})", where=str(path), mend="give one id a line") from error
    found = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not found:
        raise UsageError("no sample id given", where="--sample-ids", mend="see radialog-bench ls requests")
    return found


class Selection:
    """Passes the samples of a run and counts the others.

    Args:
        sample_ids: Only these samples, or None for all.
        shard: Only the patients of this part, or None for all.
        limited: Whether the run has a limit. A shard is a part of the limited run, so it is taken after the limit;
            without one it is taken first, and the images of other shards are not read.
    """

    def __init__(self, sample_ids: Collection[str] | None, shard: Shard | None, *, limited: bool) -> None:
        self._wanted = None if sample_ids is None else set(sample_ids)
        self._shard, self._limited = shard, limited
        self._known: list[str] = []

    def chosen(self, items: Iterable[EvalSample | LeftOut]) -> Iterator[EvalSample | LeftOut]:
        """Yield the samples to take, before a limit, and a reason for each other one."""
        for item in items:
            if isinstance(item, LeftOut):
                yield item
                continue
            self._known.append(item.id)
            if self._wanted is not None and item.id not in self._wanted:
                yield LeftOut(NOT_NAMED)
            elif not self._limited and self._shard is not None and not self._shard.holds(item):
                yield LeftOut(OTHER_SHARD)
            else:
                yield item

    def within_limit(self, samples: list[EvalSample], left_out: Counter[str]) -> list[EvalSample]:
        """Return the shard's samples of those within the limit, and count the others."""
        if self._shard is None or not self._limited:
            return samples
        own = [sample for sample in samples if self._shard.holds(sample)]
        left_out[OTHER_SHARD] = len(samples) - len(own)
        return own

    def check_names(self) -> None:
        """Refuse ids that no evaluation of the run has.

        Raises:
            UsageError: If there is one.
        """
        unknown = sorted((self._wanted or set()) - set(self._known))
        if unknown:
            close = get_close_matches(unknown[0], self._known, n=1)
            mend = f"did you mean {close[0]}?" if close else "see radialog-bench ls requests for the ids"
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UsageError(f"no sample {unknown[0]!r}{more}", where="--sample-ids", mend=mend)
