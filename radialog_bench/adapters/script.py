"""A program as a model: JSON lines on its standard streams, or ReXrank's files."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from radialog_bench.adapters import rexrank
from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.worker import Worker, WorkerLost
from radialog_bench.chat import Request, Response
from radialog_instruct.errors import ModelError, UsageError

CONTRACTS = ("lines", "rexrank")
_MOST_LOST = 3
"""Programs that may be lost in a row without a single answer."""


class Script(Adapter):
    """Runs a program that answers requests.

    ``contract=lines`` (the default): the program stays open, reads one request a line from stdin and writes one answer
    a line to stdout, in any order: ``{"id": ..., "text": ...}`` or ``{"id": ..., "error": "why"}``, with ``usage`` if
    it likes. A program that is silent for ``timeout`` seconds is killed with all it started; what it left open is asked
    again, one request at a time, of a new one, so that only the request at fault fails.

    ``contract=rexrank``: the program is started for each batch with ``--input_json_file``, ``--save_json_file`` and
    ``--img_root_dir``; it answers report generation only. Give a large ``--batch-size``: it loads its model each time.

    Args:
        command: The program and its arguments, as a shell would split them; no shell runs.
        contract: ``lines`` or ``rexrank``.
        timeout: Seconds without an answer (``lines``), or for a whole batch (``rexrank``).
        section: Of a ReXrank answer: ``all``, or ``findings`` to cut what stands before and behind that heading.
        revision: Whatever tells apart two models behind one program; part of the fingerprint.

    Raises:
        UsageError: If an argument is wrong.
        ModelError: If there is no such program.
    """

    free_arguments = frozenset({"timeout"})

    def __init__(
        self,
        command: str,
        *,
        contract: str = "lines",
        timeout: float = 600.0,
        section: str = "all",
        revision: str | None = None,
    ) -> None:
        if contract not in CONTRACTS:
            mend = f"choose from: {', '.join(CONTRACTS)}"
            raise UsageError(f"no contract {contract!r}", where="--model-args contract", mend=mend)
        if section not in ("all", "findings"):
            raise UsageError(f"no section {section!r}", where="--model-args section", mend="choose all or findings")
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"cannot be split ({error})", where="--model script:", mend="check the quotes") from error
        if not self._command or shutil.which(self._command[0]) is None:
            mend = "give a program, for example 'script:python answer.py'"
            raise ModelError("no such program", where=command, mend=mend)
        self.name = f"script:{Path(self._command[0]).name}"
        self._contract, self._timeout, self._section, self._revision = contract, timeout, section, revision
        self._worker: Worker | None = None
        self._lost = 0
        self.notices = ("a program's weights are not known to the bench; revision=... tells two of them apart",)

    def fingerprint(self) -> str:
        """Return a hash of the command, the revision, and the bytes of the files the command names."""
        hasher = sha256(repr((self._command, self._contract, self._section, self._revision)).encode())
        for part in self._command:
            path = Path(part)
            if path.is_file() and path.suffix:
                hasher.update(path.read_bytes())
        return hasher.hexdigest()

    def limit_silence(self, seconds: float) -> bool:
        """Kill and replace a program that is silent for longer."""
        self._timeout = seconds
        return True

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer a batch.

        Raises:
            ModelError: If the program breaks the contract, or several in a row are lost without an answer.
        """
        if self._contract == "rexrank":
            yield from rexrank.answers(self._command, requests, self._timeout, self._section)
            return
        left = {request.id: request for request in requests}
        try:
            for response in self._asked(requests):
                left.pop(response.id)
                yield response
            return
        except WorkerLost as lost:
            if len(left) == 1:
                yield _failure(next(iter(left)), lost)
                return
        for request in left.values():
            try:
                yield from self._asked([request])
            except WorkerLost as lost:
                yield _failure(request.id, lost)

    def close(self) -> None:
        """Let the program end."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _asked(self, requests: list[Request]) -> Iterator[Response]:
        self._worker = self._worker or Worker(self._command, self._timeout)
        try:
            for answer in self._worker.ask([as_record(request) for request in requests]):
                self._lost = 0
                yield _response(answer, self._command[0])
        except WorkerLost as lost:
            self._worker.kill()
            self._worker = None
            self._lost += 1
            if self._lost > _MOST_LOST:
                what = f"{self._lost} programs in a row gave no answer; the last: {lost}"
                raise ModelError(what, where=self._command[0], mend="try it by hand, or raise timeout=") from lost
            raise


def as_record(request: Request) -> dict[str, Any]:
    """Return a request as the program reads it."""
    generation = request.generation
    return {
        "id": request.id,
        "task": request.task,
        "turn": request.turn,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "images": [{"image_id": image.image_id, "path": str(image.path.resolve())} for image in request.images],
        "indication": request.indication,
        "choices": list(request.choices),
        "generation": {
            "max_new_tokens": generation.max_new_tokens,
            "temperature": generation.temperature,
            "stop": list(generation.stop),
        },
    }


def _failure(name: str, lost: WorkerLost) -> Response:
    return Response.failure(name, "timeout" if lost.hung else "adapter", str(lost))


def _response(answer: dict[str, Any], program: str) -> Response:
    name, text, error = answer["id"], answer.get("text"), answer.get("error")
    if isinstance(error, str) and text is None:
        return Response.failure(name, "adapter", error)
    usage = answer.get("usage") or {}
    known = isinstance(usage, dict) and all(isinstance(value, int | float) for value in usage.values())
    if not isinstance(text, str) or error is not None or not known:
        what = f"the answer to {name!r} needs a text or an error, both strings, and usage, if any, numbers"
        raise ModelError(what, where=program, mend='write lines such as {"id": ..., "text": ...}')
    return Response(name, text, usage={key: float(value) for key, value in usage.items()})
