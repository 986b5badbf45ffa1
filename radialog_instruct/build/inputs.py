"""Hashes of the files a dataset is built from, as they stand in its manifest."""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256
from pathlib import Path

from radialog_instruct.files import file_sha256
from radialog_instruct.sources import Reader

_MANY = 50
"""More files than this below one folder get one common hash: nobody reads a manifest of 200,000 lines."""


def input_hashes(reader: Reader) -> dict[str, str]:
    """Return the SHA-256 of every file a source is read from, by path relative to its root.

    A folder, or many files below one, get one hash over their names and hashes.

    Args:
        reader: The source.
    """
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path in reader.inputs():
        if path.is_dir():
            groups[f"{_name(path, reader.root)}/"] = sorted(file for file in path.rglob("*") if file.is_file())
        else:
            groups[_name(path.parent, reader.root)].append(path)
    hashes: dict[str, str] = {}
    merged: defaultdict[str, list[Path]] = defaultdict(list)
    for name, files in groups.items():
        merged[name if name.endswith("/") else f"{name.split('/')[0]}/"].extend(files)
    for folder, files in merged.items():
        if len(files) > _MANY:
            whole = sha256()
            for file in sorted(files):
                whole.update(f"{_name(file, reader.root)} {file_sha256(file)}\n".encode())
            hashes[f"{folder} ({len(files)} files)"] = whole.hexdigest()
        else:
            hashes |= {_name(file, reader.root): file_sha256(file) for file in files}
    return dict(sorted(hashes.items()))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
