"""The bench's adapters of the reference model; the only module of this package that knows the bench."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal

from radialog_bench.adapters.base import Adapter, BenchContext, image_key
from radialog_bench.chat import Message, Request, Response
from radialog_instruct.errors import DataError, ModelError, UsageError, missing_extra
from radialog_instruct.records import Turn

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from radialog_model.generate import Answer, Question

FindingsMode = Literal["off", "reference", "predicted"]
_MODES = ("off", "reference", "predicted")
_MEGABYTE = 2**20


class _RaDialog(Adapter):
    """What both variants share.

    It re-renders every dialog into the published layout, with a findings text in the first turn. The findings text
    that a request was answered with is logged among its notes. A request without an image (``--no-image``) is a prompt
    without one, and nothing is predicted for it.

    Args:
        weights: Folder or Hub repository.
        findings: ``predicted`` by the checkpoint's own head, ``reference`` labels, or ``off``.
        device: Where the model computes.
        batch_size: Most dialogs the model has under way.
        cache: Megabytes of image features that are kept.
        dtype: ``float32``, ``bfloat16`` or ``float16``; by default 32 bits on the CPU and bfloat16 elsewhere.
        attention: ``sdpa`` or ``eager``.
        compile: Compile the decoding step for fixed shapes.

    Raises:
        UsageError: If an argument is none of the values above, or torch is not installed.
        ModelError: If the checkpoint cannot be loaded, or is one of the other variant.
    """

    needs_images = True
    free_arguments = frozenset({"device", "batch_size", "cache", "compile"})
    variant: ClassVar[str]
    ships_weights: ClassVar[bool] = True

    def __init__(
        self,
        weights: str | None = None,
        findings: str = "predicted",
        device: str = "cpu",
        batch_size: int = 32,
        cache: int = 256,
        dtype: str | None = None,
        attention: str | None = None,
        compile: bool = False,
    ) -> None:
        where = "--model-args"
        if weights is None and not self.ships_weights:
            raise UsageError(f"{self.name} ships no weights", where=where, mend="give weights=FOLDER")
        if findings not in _MODES:
            raise UsageError(f"findings={findings}", where=where, mend="choose off, reference or predicted")
        for name, value, least in (("batch_size", batch_size, 1), ("cache", cache, 0)):
            if not isinstance(value, int) or value < least:
                raise UsageError(f"{name}={value}", where=where, mend=f"give a whole number from {least} on")
        try:
            from radialog_model.checkpoint import load_checkpoint
            from radialog_model.generate import Answerer
        except ModuleNotFoundError as error:
            raise missing_extra(error.name or "torch", "model") from error
        self._checkpoint = load_checkpoint(weights, device=device, dtype=dtype, attention=attention)
        if self._checkpoint.variant != self.variant:
            mend = f"use --model radialog-{self._checkpoint.variant}"
            what = f"this is a checkpoint of the variant {self._checkpoint.variant}, not {self.variant}"
            raise ModelError(what, where=weights or "the demonstration weights", mend=mend)
        self._answerer = Answerer(
            self._checkpoint, batch_size=batch_size, cache_bytes=cache * _MEGABYTE, compile=compile
        )
        self._mode = findings
        self._reference: dict[str, str] = {}
        self._predicted: dict[str, str | None] = {}
        self.notices = self._checkpoint.notices
        if findings == "predicted" and self._checkpoint.findings is None:
            self._mode = "off"
            self.notices += ("The checkpoint predicts no findings: its prompts carried no findings text.",)

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
        from radialog_model.prompts import layout

        shown = _carries_findings(request) and self._mode != "off"
        findings = "(predicted)" if request.images else None
        if self._mode == "reference":
            findings = self._reference.get(image_key(request.id), "")
        chat = layout(
            _turns(request), findings if shown else None, variant=self._checkpoint.variant, image=bool(request.images)
        )
        return tuple(Message(turn["role"], turn["content"]) for turn in chat)  # type: ignore[arg-type]

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer a batch; an image that cannot be read and a dialog that is too long fail their own request only."""
        from radialog_instruct.sources.images import load_image

        ready: list[tuple[Request, Image.Image | None]] = []
        read: dict[Path, Image.Image] = {}
        for request in requests:
            if len(request.images) > 1:
                yield Response.failure(request.id, "image", f"{len(request.images)} images; the model takes one")
                continue
            try:
                for image in request.images:
                    if image.path not in read:
                        read[image.path] = load_image(image.path)
            except DataError as error:
                yield Response.failure(request.id, "image", str(error))
                continue
            ready.append((request, read[request.images[0].path] if request.images else None))
        ready.sort(key=lambda pair: astuple(pair[0].generation))
        for _, group in groupby(ready, key=lambda pair: pair[0].generation):
            yield from self._answered(list(group))

    def _answered(self, ready: list[tuple[Request, Image.Image | None]]) -> Iterator[Response]:
        """Answer requests of the same generation settings."""
        from radialog_model.generate import Question, Sampling

        generation = ready[0][0].generation
        questions = [
            Question(_turns(request), request.task, image, text, _digest(request))
            for (request, image), text in zip(ready, self._findings(ready), strict=True)
        ]
        sampling = Sampling(generation.max_new_tokens, generation.temperature, generation.stop)
        for place, answer in self._answerer.answers(questions, sampling):
            yield self._response(ready[place][0], questions[place], answer)

    def _response(self, request: Request, question: Question, answer: Answer) -> Response:
        if answer.error is not None:
            return Response.failure(request.id, "context", answer.error)
        if answer.finish == "context":
            what = f"the context of {self._answerer.context} tokens ended the answer after {answer.new_tokens}"
            return Response.failure(request.id, "context", what)
        usage = {"prompt_tokens": float(answer.prompt_tokens), "new_tokens": float(answer.new_tokens)}
        if answer.dropped_turns:
            usage["dropped_turns"] = float(answer.dropped_turns)
        notes = {} if question.findings is None else {"findings": question.findings}
        return Response(request.id, answer.text, usage=usage, notes=notes)

    def _findings(self, ready: Sequence[tuple[Request, Image.Image | None]]) -> list[str | None]:
        """Return the findings text of each request's prompt; None where it has none."""
        from radialog_model.generate import predict_findings

        if self._mode == "off":
            return [None] * len(ready)
        if self._mode == "reference":
            return [self._reference.get(image_key(r.id)) if _carries_findings(r) else None for r, _ in ready]
        wanted = [(request, image) for request, image in ready if image and _carries_findings(request)]
        new = {key: image for request, image in wanted if (key := _digest(request)) not in self._predicted}
        if new:
            texts = predict_findings(self._checkpoint, list(new.values()))
            self._predicted.update({key: text for key, text in zip(new, texts, strict=True) if key is not None})
        asked = {request.id for request, _ in wanted}
        return [self._predicted[_digest(request) or ""] if request.id in asked else None for request, _ in ready]


class RaDialogProject(_RaDialog):
    """RaDialog's ``project`` variant; the demonstration weights where no others are given."""

    name = "radialog-project"
    variant = "project"


class RaDialogAlign(_RaDialog):
    """RaDialog's ``align`` variant; ``weights`` must be given, for none are shipped."""

    name = "radialog-align"
    variant = "align"
    ships_weights = False


def _turns(request: Request) -> tuple[Turn, ...]:
    return tuple(Turn(message.role, message.content) for message in request.messages)


def _carries_findings(request: Request) -> bool:
    from radialog_model.prompts import asks_for_a_report_first

    return asks_for_a_report_first(request.task, len(request.messages))


def _digest(request: Request) -> str | None:
    return request.images[0].sha256 if request.images else None
