"""The labelers a run can score with, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from radialog_instruct.errors import UsageError
from radialog_instruct.findings import Labels
from radialog_instruct.labeling import rules

DEFAULT_LABELERS = {"demo": "rules"}
"""Source -> labeler; every other source is scored by CheXbert, as the paper does."""


@dataclass(frozen=True)
class Labeler:
    """A labeler that is ready, or the reason why it is not.

    Attributes:
        name: Its name.
        signature: Name, version and hash; it stands in every CE metric's signature.
        label_many: Texts to labels, or None when it is unavailable.
        unavailable: Why it is.
    """

    name: str
    signature: str
    label_many: Callable[[Sequence[str]], list[Labels]] | None
    unavailable: str | None = None


def default_labeler(source: str) -> str:
    """Return the name of the labeler a source is scored with."""
    return DEFAULT_LABELERS.get(source, "chexbert")


def open_labeler(name: str) -> Labeler:
    """Open a labeler.

    Raises:
        UsageError: If the name is unknown.
    """
    if name == "rules":
        return Labeler(name, rules.signature(), rules.label_many)
    if name == "chexbert":
        reason = "the chexbert labeler is not available; --labeler rules scores with the embedded rules"
        return Labeler(name, "chexbert", None, reason)
    raise UsageError(f"no labeler {name!r}", where="--labeler", mend="choose from: chexbert, rules")
