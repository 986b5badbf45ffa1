"""Readers: the files of a source in, studies out."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from radialog_instruct.errors import UsageError
from radialog_instruct.sources.base import Reader
from radialog_instruct.sources.demo import DemoReader
from radialog_instruct.sources.iu_xray import IUXrayReader

SOURCES: dict[str, type[DemoReader] | type[IUXrayReader]] = {
    DemoReader.name: DemoReader,
    IUXrayReader.name: IUXrayReader,
}

__all__ = ["SOURCES", "Reader", "open_source"]


def open_source(name: str, root: Path | None = None, **options: Any) -> Reader:
    """Open a source by its name.

    Args:
        name: One of ``SOURCES``.
        root: Its folder; only the demo can do without.
        **options: Options of the source's reader.

    Raises:
        UsageError: If the name or an option is unknown, or a root is needed.
        DataError: If the root lacks the source's files.
    """
    kind = SOURCES.get(name)
    if kind is None:
        close = get_close_matches(name, SOURCES, n=1, cutoff=0.4) or sorted(SOURCES)
        raise UsageError(f"no source {name!r}", where="--source", mend=f"did you mean {' or '.join(close)}?")
    try:
        return kind(root, **options)
    except TypeError as error:
        raise UsageError(f"{name} does not take these options: {error}", where="--source") from error
