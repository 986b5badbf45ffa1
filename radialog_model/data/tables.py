"""A table of equally shaped arrays on disk, keyed by name: decoded images, or the features of a frozen tower.

It is one memory-mapped file, so worker processes and ranks share its pages. A record counts as written only once its
name stands in the index behind the data, so a killed writer leaves no record half-written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from radialog_instruct.errors import DataError, UsageError

_DATA, _INDEX, _SHAPE = "data.bin", "index.jsonl", "shape.json"


class ArrayTable:
    """Arrays of one shape under their names.

    Args:
        folder: Where the table lies; created if needed.
        shape: Shape of each array.
        dtype: Its NumPy type.
        content: Says what the arrays are and how they were made; a table of another content is refused.

    Raises:
        DataError: If the folder holds a table of another content.
        UsageError: If the folder cannot be written.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str, content: str) -> None:
        self.folder, self.shape, self.dtype = folder, shape, np.dtype(dtype)
        self._bytes = int(np.prod(shape)) * self.dtype.itemsize
        described: dict[str, object] = {"shape": list(shape), "dtype": self.dtype.str, "content": content}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._describe(described)
        except OSError as error:
            raise UsageError(
                f"cannot write: {error.strerror}", where=str(folder), mend="choose another folder"
            ) from error
        self._rows = self._read_index()

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a record, read from disk when its values are first touched.

        Raises:
            KeyError: If there is no such record.
        """
        offset = self._rows[name] * self._bytes
        return np.memmap(self.folder / _DATA, self.dtype, "r", offset, self.shape)

    def refresh(self) -> None:
        """Read the index again: another process may have written."""
        self._rows = self._read_index()

    def append(self, names: Sequence[str], values: np.ndarray) -> None:
        """Write records behind the last one.

        Args:
            names: Their names, none of which the table holds.
            values: [len(names), *shape].
        """
        start = len(self._rows)
        with (self.folder / _DATA).open("r+b" if start else "wb") as data:
            data.seek(start * self._bytes)  # over what a killed writer left behind the last named record
            data.write(np.ascontiguousarray(values, self.dtype).tobytes())
            data.flush()
            os.fsync(data.fileno())
        with (self.folder / _INDEX).open("a", encoding="utf-8") as index:
            index.writelines(json.dumps(name) + "\n" for name in names)
        self._rows.update((name, start + i) for i, name in enumerate(names))

    def _describe(self, described: dict[str, object]) -> None:
        path = self.folder / _SHAPE
        if not path.is_file():
            temporary = path.with_suffix(f".{os.getpid()}")  # ranks may come at the same time
            temporary.write_text(json.dumps(described) + "\n", encoding="utf-8")
            temporary.replace(path)
            return
        if json.loads(path.read_text(encoding="utf-8")) != described:
            mend = "delete the folder, or choose another"
            raise DataError("a table of other arrays lies here", where=str(self.folder), mend=mend)

    def _read_index(self) -> dict[str, int]:
        path = self.folder / _INDEX
        if not path.is_file():
            return {}
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a killed writer may have left half a line
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        return {json.loads(line): row for row, line in enumerate(whole.splitlines())}
