"""Whether a run scored the whole official test split, without which its row is not comparable with the printed ones.

Another collection can have the layout of MIMIC-CXR, and a split file can be cut or made up. An entry holds no id, but
it says how many studies gave samples and what gave none, so the size of the split that was read can be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from radialog_bench.leaderboard.entry import EntryEvaluation, LeaderboardEntry
from radialog_bench.selection import NOT_NAMED, OTHER_SHARD

IMAGE_FAULTS = ("image file missing", "not an image", "image damaged or cut short", "image larger than 100 megapixels")
"""Reasons for which ``--limit-to-images`` leaves a sample out."""
_STUDIES = (
    "study without a findings section",
    "study without a frontal image",
    "structured report without a frontal image",
)
"""What leaves out a study of the split as a whole."""
_IMAGES = (
    *IMAGE_FAULTS,
    "image of a study without an impression section",
    "image with view ",
    "beyond --limit",
    NOT_NAMED,
    OTHER_SHARD,
)
"""How the reasons begin that leave out one sample, and with it perhaps the only one of a study."""


def why_not_whole(entry: LeaderboardEntry, evaluations: Sequence[str], official: Mapping[str, int]) -> Iterator[str]:
    """Yield what keeps a run from being one over the whole official test split.

    Args:
        entry: The run.
        evaluations: The evaluations whose numbers the row shows.
        official: Studies of the official test split, by evaluation where it has a split of its own, else by source.
    """
    settings = entry.settings
    if entry.data.split != "test":
        yield f"split {entry.data.split}, the table's is test"
    if settings.get("limit"):
        yield f"only the first {settings['limit']:,} samples"
    if settings.get("sample_ids"):
        yield "only samples chosen by id"
    if settings.get("shard"):
        yield f"only part {settings['shard']} of the patients"
    for name in evaluations:
        prefix = f"{name.replace('_', ' ')}: " if len(evaluations) > 1 else ""
        part = entry.evaluations[name]
        if entry.limited_to_images and (missing := _count(part, IMAGE_FAULTS)):
            yield f"{prefix}{missing:,} samples without a usable image left out"
        whole = official.get(name, official.get(entry.data.source))
        if whole is not None and entry.data.split == "test" and not _can_be(part, whole):
            found = part.n_studies + _count(part, _STUDIES)
            yield f"{prefix}{found:,} studies in the test split, the official one has {whole:,}"


def _can_be(part: EntryEvaluation, whole: int) -> bool:
    """Tell whether a split of so many studies can have given what an evaluation counted."""
    least = part.n_studies + _count(part, _STUDIES)
    return least <= whole <= least + _count(part, _IMAGES)


def _count(part: EntryEvaluation, reasons: tuple[str, ...]) -> int:
    return sum(n for reason, n in part.counts.items() if reason.startswith(reasons))
