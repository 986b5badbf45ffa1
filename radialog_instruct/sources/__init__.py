"""Readers: the files of a source in, studies out."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from radialog_instruct.annotations import AnnotatedReader, Annotations
from radialog_instruct.annotations.drafts import open_drafts
from radialog_instruct.errors import UsageError
from radialog_instruct.labeling.base import TextLabeler
from radialog_instruct.sources.base import Reader
from radialog_instruct.sources.demo import DemoReader
from radialog_instruct.sources.iu_xray import IUXrayReader
from radialog_instruct.sources.mimic_cxr import MimicCxrReader

SOURCES: dict[str, type[DemoReader] | type[IUXrayReader] | type[MimicCxrReader]] = {
    DemoReader.name: DemoReader,
    IUXrayReader.name: IUXrayReader,
    MimicCxrReader.name: MimicCxrReader,
}

__all__ = ["SOURCES", "Reader", "open_source"]


def open_source(
    name: str,
    root: Path | None = None,
    *,
    mimic_nle: Path | None = None,
    rad_restruct: Path | None = None,
    labels: tuple[Path, ...] = (),
    drafts: Path | None = None,
    judge: TextLabeler | None = None,
    **options: Any,
) -> Reader:
    """Open a source by its name.

    Args:
        name: One of ``SOURCES``.
        root: Its folder; only the demo can do without.
        mimic_nle: Folder of MIMIC-NLE's extracted files, attached to mimic-cxr.
        rad_restruct: Rad-ReStruct's folder, attached to iu-xray.
        labels: Label files written by ``radialog-instruct label``.
        drafts: Run folder of a benchmark on the train split.
        judge: Reads findings in the drafts.
        **options: Options of the source's reader.

    Raises:
        UsageError: If the name or an option is unknown, a root is needed, or an annotation belongs to another source.
        DataError: If a folder lacks its files.
    """
    kind = SOURCES.get(name)
    if kind is None:
        close = get_close_matches(name, SOURCES, n=1, cutoff=0.4) or sorted(SOURCES)
        raise UsageError(f"no source {name!r}", where="--source", mend=f"did you mean {' or '.join(close)}?")
    try:
        reader: Reader = kind(root, **options)
    except TypeError as error:
        raise UsageError(f"{name} does not take these options: {error}", where="--source") from error
    annotations = Annotations(mimic_nle, rad_restruct, labels, open_drafts(drafts, name, judge))
    return AnnotatedReader(reader, annotations) if annotations else reader
