"""The command ``label``: every report of a source to a Parquet file of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radialog_instruct.annotations.labels import write_labels
from radialog_instruct.errors import UsageError
from radialog_instruct.labeling import rules
from radialog_instruct.labeling.base import TextLabeler
from radialog_instruct.records import Sections
from radialog_instruct.sources import open_source

SECTIONS = ("findings", "impression", "both")


def open_labeler(name: str, checkpoint: Path | None = None, vocabulary: Path | None = None) -> TextLabeler:
    """Open a labeler by its name.

    Args:
        name: ``"rules"`` or ``"chexbert"``.
        checkpoint: CheXbert's checkpoint; None takes it from the Hub.
        vocabulary: BERT's ``vocab.txt``; None takes it from the Hub.

    Raises:
        UsageError: If the name is unknown or torch is missing.
        ModelError: If the checkpoint cannot be used.
    """
    if name == rules.NAME:
        return rules.RuleLabeler()
    if name == "chexbert":
        from radialog_instruct.labeling.chexbert import ChexbertLabeler

        return ChexbertLabeler(checkpoint, vocabulary)
    raise UsageError(f"no labeler {name!r}", where="--labeler", mend="choose rules or chexbert")


def label_source(
    source: str,
    root: Path | None,
    reports: Path | None,
    labeler: str,
    checkpoint: Path | None,
    vocabulary: Path | None,
    sections: str,
    out: Path,
) -> str:
    """Label the reports of a source.

    Args:
        source: Name of the source.
        root: Its folder.
        reports: MIMIC-CXR's reports.
        labeler: Name of the labeler.
        checkpoint: CheXbert's checkpoint.
        vocabulary: BERT's vocabulary.
        sections: ``"findings"``, ``"impression"`` or ``"both"``.
        out: The Parquet file.

    Returns:
        A sentence that says what was labelled and what was not.

    Raises:
        RadialogError: If the source, the labeler or the output cannot be used.
    """
    if sections not in SECTIONS:
        raise UsageError(f"no sections {sections!r}", where="--sections", mend=f"choose from: {', '.join(SECTIONS)}")
    using = open_labeler(labeler, checkpoint, vocabulary)
    options: dict[str, Any] = {"reports": reports} if reports is not None else {}
    ids, texts, empty = [], [], 0
    for study in open_source(source, root, **options).studies():
        text = _text(study.sections, sections)
        if text:
            ids.append(study.study_id)
            texts.append(text)
        else:
            empty += 1
    write_labels(out, source, using.name, using.signature(), ids, using.label_many(texts))
    return (
        f"{len(ids):,} reports labelled by {using.signature()} in {out}; {empty:,} studies without {sections} left out"
    )


def _text(sections: Sections, which: str) -> str:
    parts = {
        "findings": (sections.findings,),
        "impression": (sections.impression,),
        "both": (sections.findings, sections.impression),
    }[which]
    return "\n\n".join(part for part in parts if part)
