"""Answers made elsewhere: a folder with one JSON-lines file an evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from radialog_bench.adapters.base import Adapter
from radialog_bench.chat import Request, Response
from radialog_instruct.errors import DataError


class Predictions(Adapter):
    """Reads ``<folder>/<evaluation>.jsonl``.

    Each line holds ``text`` and either ``id``, or ``study_id`` and ``image_id``. An id is the request's, as
    ``radialog-bench ls requests`` prints it. A request without a line is a failure of the
    kind "missing", counted like any other.

    Args:
        folder: The folder.

    Raises:
        DataError: If it is missing, or a line cannot be read or repeats an id.
    """

    name = "predictions"
    needs_images = False

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        files = sorted(self._folder.glob("*.jsonl"))
        if not files:
            raise DataError("no .jsonl file of predictions here", where=folder, mend="write <evaluation>.jsonl there")
        self._texts: dict[str, str] = {}
        hasher = sha256()
        for file in files:
            hasher.update(file.read_bytes())
            self._read(file)
        self._digest = hasher.hexdigest()

    def fingerprint(self) -> str:
        """Return the hash of the files."""
        return self._digest

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Look the answers up."""
        for request in requests:
            text = self._texts.get(request.id)
            if text is None:
                yield Response.failure(request.id, "missing", f"no prediction in {self._folder}")
            else:
                yield Response(request.id, text)

    def _read(self, file: Path) -> None:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            where = f"{file}:{number}"
            try:
                record = json.loads(line)
                identifier = record.get("id") or f"{file.stem}/{record['study_id']}/{record['image_id']}"
                text = record["text"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                mend = "each line needs text, and id or study_id and image_id"
                raise DataError(f"not a prediction ({error})", where=where, mend=mend) from error
            if not isinstance(text, str):
                raise DataError(f"text is {type(text).__name__}", where=where, mend="it must be a string")
            if identifier in self._texts:
                raise DataError(f"{identifier} occurs twice", where=where, mend="remove one line")
            self._texts[identifier] = text
