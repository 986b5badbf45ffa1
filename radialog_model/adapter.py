"""The bench's adapter of the reference model; the only module of this package that knows the bench."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from itertools import groupby
from typing import Literal

from PIL import Image

from radialog_bench.adapters.base import Adapter, BenchContext, image_key
from radialog_bench.chat import Message, Request, Response
from radialog_instruct.errors import DataError, UsageError, missing_extra
from radialog_instruct.records import Turn

FindingsMode = Literal["off", "reference", "predicted"]


class RaDialogProject(Adapter):
    """RaDialog's ``project`` variant.

    It re-renders every dialog into the published layout, with the findings text of its own head in the first turn.

    Args:
        weights: Folder or Hub repository; the demonstration weights by default.
        findings: ``predicted`` by the findings head, ``reference`` labels, or ``off``.
        device: Where the model computes.

    Raises:
        UsageError: If ``findings`` is none of the three, or torch is not installed.
        ModelError: If the checkpoint cannot be loaded.
    """

    name = "radialog-project"
    needs_images = True

    def __init__(self, weights: str | None = None, findings: str = "predicted", device: str = "cpu") -> None:
        if findings not in ("off", "reference", "predicted"):
            raise UsageError(f"findings={findings}", where="--model-args", mend="choose off, reference or predicted")
        try:
            from radialog_model.checkpoint import load_checkpoint
        except ModuleNotFoundError as error:
            raise missing_extra(error.name or "torch", "model") from error
        self._checkpoint = load_checkpoint(weights, device=device)
        self._mode = findings
        self._reference: dict[str, str] = {}
        self._predicted: dict[str, str | None] = {}
        self.notices = self._checkpoint.notices

    def fingerprint(self) -> str:
        """Return the hash of the weights and of the chat template."""
        from hashlib import sha256

        template = self._checkpoint.processor.chat_template
        return sha256(f"{self._checkpoint.fingerprint}|{template}".encode()).hexdigest()

    def prepare(self, context: BenchContext) -> None:
        """Take the reference findings, where the run shows them to the model."""
        if self._mode == "reference":
            self._reference = dict(context.findings)

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the dialog in the published layout; the predicted findings stand for themselves until asked."""
        from radialog_model.prompts import asks_for_a_report_first, layout

        shown = asks_for_a_report_first(request.task, len(request.messages)) and self._mode != "off"
        findings = self._reference.get(image_key(request.id), "") if self._mode == "reference" else "(predicted)"
        turns = tuple(Turn(message.role, message.content) for message in request.messages)
        return tuple(
            Message(turn["role"], turn["content"])  # type: ignore[arg-type]
            for turn in layout(turns, findings if shown else None, variant=self._checkpoint.variant)
        )

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer a batch; an image that cannot be read fails its own request only."""
        from radialog_instruct.sources.images import load_image
        from radialog_model.generate import Question, answer

        ready: list[tuple[Request, Image.Image]] = []
        for request in requests:
            if len(request.images) != 1:
                yield Response.failure(request.id, "image", f"{len(request.images)} images; the model takes one")
                continue
            try:
                ready.append((request, load_image(request.images[0].path)))
            except DataError as error:
                yield Response.failure(request.id, "image", str(error))
        ready.sort(key=lambda pair: astuple(pair[0].generation))
        for generation, group in groupby(ready, key=lambda pair: pair[0].generation):
            same = list(group)
            questions = [
                Question(tuple(Turn(m.role, m.content) for m in request.messages), request.task, image, text)
                for (request, image), text in zip(same, self._findings(same), strict=True)
            ]
            answers = answer(
                self._checkpoint,
                questions,
                max_new_tokens=generation.max_new_tokens,
                temperature=generation.temperature,
            )
            for (request, _), result in zip(same, answers, strict=True):
                yield Response(request.id, result.text, usage={"new_tokens": float(result.new_tokens)})

    def _findings(self, ready: list[tuple[Request, Image.Image]]) -> list[str | None]:
        from radialog_model.generate import predict_findings

        if self._mode == "off":
            return [None] * len(ready)
        if self._mode == "reference":
            return [self._reference.get(image_key(request.id)) for request, _ in ready]
        new = {r.images[0].sha256: image for r, image in ready if r.images[0].sha256 not in self._predicted}
        if new:
            self._predicted.update(zip(new, predict_findings(self._checkpoint, list(new.values())), strict=True))
        return [self._predicted[request.images[0].sha256] for request, _ in ready]
