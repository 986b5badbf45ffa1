"""Answers from the response logs of earlier runs, so that they can be scored again without the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from radialog_bench.adapters.base import Adapter
from radialog_bench.chat import Failure, Message, Request, Response
from radialog_bench.responses import messages_hash
from radialog_instruct.errors import DataError

Asked = tuple[str, str]
"""A request's id and the hash of its neutral messages."""


class Logged(Adapter):
    """Answers a request that was asked before in the same words, under the same id.

    A request whose answer failed then fails again with the same reason; one that was never asked is a failure of the
    kind "missing". Nothing is asked of a model, so no image is needed.

    Args:
        folders: Run folders; their logs are read in this order, and a later answer stands for an earlier one.
        limits_to_images: Whether the run left out samples without a readable image.

    Raises:
        DataError: If a folder has no log, or one is damaged.
    """

    name = "logged"
    needs_images = False

    def __init__(self, folders: Sequence[Path], *, limits_to_images: bool = False) -> None:
        self.limits_to_images = limits_to_images
        self.answered = 0
        self._responses: dict[Asked, Response] = {}
        self._rendered: dict[Asked, tuple[Message, ...]] = {}
        for folder in folders:
            for record in _records(folder):
                self._keep(record)

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the messages as the model read them, where they are known."""
        return self._rendered.get(_asked(request), request.messages)

    def fingerprint(self) -> str:
        """Return nothing of its own: the answers are those of the model in ``run.json``."""
        return ""

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Look the answers up."""
        for request in requests:
            response = self._responses.get(_asked(request))
            if response is None:
                yield Response.failure(request.id, "missing", "the response log holds no answer to this request")
            else:
                self.answered += 1
                yield response

    def _keep(self, record: dict[str, Any]) -> None:
        asked = (record["id"], record["neutral"])
        error = Failure(record["error"]["kind"], record["error"]["message"]) if "error" in record else None
        known = self._responses.get(asked)
        if error is not None and known is not None and known.error is None:
            return  # a run that went on took the answer
        self._responses[asked] = Response(record["id"], record["text"], error, record.get("usage", {}))
        rendered = tuple(Message(turn["role"], turn["content"]) for turn in record["messages"])
        if messages_hash(rendered) != asked[1]:
            self._rendered[asked] = rendered


def _asked(request: Request) -> Asked:
    return request.id, messages_hash(request.messages)


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    files = sorted((folder / "responses").glob("*.jsonl"))
    if not files:
        raise DataError("no response log here", where=str(folder), mend="give the folder of a run that asked a model")
    for file in files:
        lines = file.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if not {"id", "neutral", "messages", "text"} <= record.keys():
                    raise ValueError("keys are missing")
            except (ValueError, AttributeError) as error:
                if number == len(lines) and not line.endswith(b"\n"):
                    break  # cut short by a crash: the run had not yet gone on with it
                where, mend = f"{file}:{number}", "remove the line, or run the model again with this version"
                raise DataError(f"not a response of this version ({error})", where=where, mend=mend) from error
            yield record
