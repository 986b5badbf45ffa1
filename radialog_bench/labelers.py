"""The labelers a run can score with, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from radialog_instruct.errors import RadialogError, UsageError
from radialog_instruct.findings import Labels, make_labels
from radialog_instruct.labeling import rules
from radialog_instruct.labeling.chexbert import ChexbertLabeler

DEFAULT_LABELERS = {"demo": "rules", "rad-restruct": "rules"}
"""Source -> labeler; every other source is scored by CheXbert, as the paper does. Rad-ReStruct has no text to label."""


LabelMany = Callable[[Sequence[str]], list[Labels]]
"""Texts to labels."""


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
    label_many: LabelMany | None
    unavailable: str | None = None

    @property
    def reason(self) -> str:
        """Why it is unavailable, in words that are never empty."""
        return self.unavailable or "the labeler is not available"


def default_labeler(source: str) -> str:
    """Return the name of the labeler a source is scored with."""
    return DEFAULT_LABELERS.get(source, "chexbert")


def open_labeler(name: str, chexbert: Path | None = None, vocabulary: Path | None = None) -> Labeler:
    """Open a labeler.

    Args:
        name: ``"rules"`` or ``"chexbert"``.
        chexbert: CheXbert's checkpoint; None takes it from the Hub, and where that fails the labeler is unavailable.
        vocabulary: ``vocab.txt`` of bert-base-uncased; None takes it from the Hub.

    Raises:
        UsageError: If the name is unknown.
        ModelError: If the checkpoint that was given cannot be used.
    """
    if name == "rules":
        return Labeler(name, rules.signature(), _remembering(rules.label_many))
    if name == "chexbert":
        return _open_chexbert(chexbert, vocabulary)
    raise UsageError(f"no labeler {name!r}", where="--labeler", mend="choose from: chexbert, rules")


def _open_chexbert(checkpoint: Path | None, vocabulary: Path | None) -> Labeler:
    try:
        labeler = ChexbertLabeler(checkpoint, vocabulary)
    except RadialogError as error:
        if checkpoint is not None:
            raise
        mend = "give --chexbert and --vocabulary, or score with the embedded rules by --labeler rules"
        reason = f"the chexbert labeler is not available ({error.what}); {mend}"
        return Labeler("chexbert", "chexbert", None, reason)

    def label_many(texts: Sequence[str]) -> list[Labels]:
        # A failed answer is an empty text and counts as no finding at all, whatever a network makes of nothing.
        labels = labeler.label_many(texts)
        return [made if text.strip() else make_labels({}) for text, made in zip(texts, labels, strict=True)]

    return Labeler("chexbert", labeler.signature(), _remembering(label_many))


def _remembering(label_many: LabelMany) -> LabelMany:
    """Label each distinct text once: several evaluations of a run score the same references and reports."""
    known: dict[str, Labels] = {}

    def remembered(texts: Sequence[str]) -> list[Labels]:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, label_many(new), strict=True))
        return [known[text] for text in texts]

    return remembered
