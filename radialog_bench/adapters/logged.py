"""Answers from the response logs of earlier runs, so that they can be scored again without the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from radialog_bench.adapters.base import Adapter
from radialog_bench.chat import Failure, Message, Request, Response
from radialog_bench.evaluations import EVALUATION_NAMES
from radialog_bench.responses import messages_hash
from radialog_instruct.errors import DataError

Asked = tuple[str, str]
"""A request's id and the hash of its neutral messages."""


class Logged(Adapter):
    """Answers a request that was asked before in the same words, under the same id.

    A request whose answer failed then fails again with the same reason; one that was never asked is a failure of the
    kind "missing". Nothing is asked of a model, so no image is needed. A report that several evaluations ask for can
    have failed in one of them and come in the next: ``during`` gives each of them what it had.

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
        self._evaluation = ""
        self._responses: dict[str, dict[Asked, Response]] = {name: {} for name in EVALUATION_NAMES}
        self._rendered: dict[Asked, tuple[Message, ...]] = {}
        for folder in folders:
            for evaluation, record in _records(folder):
                self._keep(self._responses.setdefault(evaluation, {}), record)

    def during(self, evaluation: str) -> Logged:
        """Return the same answers as they were while an evaluation ran."""
        chosen = copy(self)
        chosen._evaluation = evaluation
        return chosen

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the messages as the model read them, where they are known."""
        return self._rendered.get(_asked(request), request.messages)

    def fingerprint(self) -> str:
        """Return nothing of its own: the answers are those of the model in ``run.json``."""
        return ""

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Look the answers up."""
        for request in requests:
            response = self._found(_asked(request))
            missing = "the response log holds no answer to this request"
            yield Response.failure(request.id, "missing", missing) if response is None else response

    def _found(self, asked: Asked) -> Response | None:
        """Return what an evaluation went on with: its own answer, else one from before it, else its own failure."""
        names = list(self._responses)
        before = names[: names.index(self._evaluation) + 1] if self._evaluation in names else []
        own = self._responses.get(self._evaluation, {}).get(asked)
        answers = {name: known[asked] for name, known in self._responses.items() if asked in known}
        taken = [answers[name] for name in reversed(before) if name in answers and answers[name].error is None]
        if taken or own is not None:
            return taken[0] if taken else own
        return min(answers.values(), key=lambda response: response.error is not None, default=None)

    def _keep(self, responses: dict[Asked, Response], record: dict[str, Any]) -> None:
        asked = (record["id"], record["neutral"])
        error = Failure(record["error"]["kind"], record["error"]["message"]) if "error" in record else None
        known = responses.get(asked)
        if error is not None and known is not None and known.error is None:
            return  # a run that went on took the answer
        responses[asked] = Response(record["id"], record["text"], error, record.get("usage", {}))
        rendered = tuple(Message(turn["role"], turn["content"]) for turn in record["messages"])
        if messages_hash(rendered) != asked[1]:
            self._rendered[asked] = rendered


def _asked(request: Request) -> Asked:
    return request.id, messages_hash(request.messages)


def _records(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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
            yield file.stem, record
