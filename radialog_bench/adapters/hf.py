"""Any image-text-to-text model of transformers, in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from PIL import Image

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.content import chat_messages, request_images, template_text, with_system
from radialog_bench.adapters.weights import local_model, unpinned_notice, weights_fingerprint
from radialog_bench.chat import Message, Request, Response
from radialog_instruct.errors import DataError, ModelError, missing_extra

if TYPE_CHECKING:
    import torch


class HuggingFace(Adapter):
    """Runs a model of ``AutoModelForImageTextToText`` behind its processor's chat template.

    Images stand in the first user turn, as grey in three channels. A batch is padded on the left; it is halved when
    memory runs out or one of its requests cannot be processed, so that a request fails alone. Nothing of the model's
    own generation settings holds but its special tokens: temperature 0 is the plain arg max.

    Args:
        model: Repository or folder.
        revision: Commit of the repository.
        dtype: ``auto`` (as stored), ``float32``, ``bfloat16`` or ``float16``.
        device: For example ``cuda:1``; ``auto`` spreads the model over all; by default the first GPU, else the CPU.
        trust_remote_code: Whether Python code of the repository may run.
        attn_implementation: As transformers takes it.
        chat_template: A Jinja file in place of the processor's own template.
        system: A system message before each dialog.
        seed: Seed of sampling, where the temperature is above 0.

    Raises:
        UsageError: If transformers or torch is not installed.
        ModelError: If the model has no chat template, or there is no such folder.
    """

    free_arguments = frozenset({"device"})

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        trust_remote_code: bool = False,
        attn_implementation: str | None = None,
        chat_template: str | None = None,
        system: str | None = None,
        seed: int = 0,
    ) -> None:
        try:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
        except ImportError as error:
            raise missing_extra(error.name or "transformers", "model") from error
        self.name = f"hf:{model}"
        self._system, self._seed, self._most = system, seed, 0
        place = local_model(model)
        common = {"revision": revision, "trust_remote_code": trust_remote_code}
        processor: Any = AutoProcessor.from_pretrained(place, **common)
        processor.chat_template = template_text(chat_template) or getattr(processor, "chat_template", None)
        if not processor.chat_template:
            mend = "give one that places the image: --model-args chat_template=FILE.jinja"
            raise ModelError("the processor has no chat template", where=model, mend=mend)
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            place,
            dtype=dtype,
            attn_implementation=attn_implementation,
            device_map="auto" if device == "auto" else None,
            **common,
        )
        self._model = (loaded if device == "auto" else loaded.to(device)).eval()
        own = loaded.generation_config
        self._ends = _as_set(own.eos_token_id) or _as_set(tokenizer.eos_token_id)
        # A fresh configuration: the stored one may bring penalties, beams or a temperature of its own.
        loaded.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=sorted(self._ends), pad_token_id=tokenizer.pad_token_id
        )
        self._processor = processor
        self._context = getattr(loaded.config.get_text_config(), "max_position_embeddings", None)
        template = sha256(str(processor.chat_template).encode()).hexdigest()
        self._fingerprint = f"{weights_fingerprint(place, revision)}|{template}"
        self.notices = unpinned_notice(place, revision)

    def fingerprint(self) -> str:
        """Return the weights' revision or digest, and the hash of the chat template."""
        return self._fingerprint

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the neutral dialog behind the system message."""
        return with_system(request.messages, self._system)

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer in batches of like requests; what cannot be read or does not fit fails alone."""
        groups: dict[tuple[Any, ...], list[_Prompt]] = defaultdict(list)
        for request in requests:
            try:
                images = request_images(request)
            except DataError as error:
                yield Response.failure(request.id, "image", str(error))
                continue
            blocks = [{"type": "image", "image": image} for image in images]
            prompt = _Prompt(request, chat_messages(self.render(request), blocks), images)
            groups[len(images), request.generation.temperature, request.generation.stop].append(prompt)
        for group in groups.values():
            yield from self._answered(group)

    def close(self) -> None:
        """Let go of the model and of its memory."""
        import torch

        self.__dict__.pop("_model", None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _answered(self, prompts: list[_Prompt]) -> Iterator[Response]:
        import torch

        if self._most and len(prompts) > self._most:
            for start in range(0, len(prompts), self._most):
                yield from self._answered(prompts[start : start + self._most])
            return
        failure = ""
        try:
            yield from self._batch(prompts)
            return
        except torch.OutOfMemoryError:
            # A smaller batch is asked below, when this frame's tensors are gone.
            failure = "out of memory"
            self._most = max(1, len(prompts) // 2)
        except Exception as error:  # noqa: BLE001 - a model's code may raise anything; the request at fault fails alone
            failure = f"{type(error).__name__}: {error}"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(prompts) == 1:
            yield Response.failure(prompts[0].request.id, "adapter", failure)
            return
        half = len(prompts) // 2
        yield from self._answered(prompts[:half])
        yield from self._answered(prompts[half:])

    def _batch(self, prompts: list[_Prompt]) -> list[Response]:
        """Answer a batch; what does not fit the context is left out and the rest is encoded again."""
        inputs = self._processor.apply_chat_template(
            [prompt.messages for prompt in prompts],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        lengths = [int(n) for n in inputs["attention_mask"].sum(dim=1)]
        fits = [self._context is None or n < self._context for n in lengths]
        if not all(fits):
            too_long = [
                Response.failure(
                    prompt.request.id, "context", f"the prompt has {n} tokens, the model's context {self._context}"
                )
                for prompt, n, fit in zip(prompts, lengths, fits, strict=True)
                if not fit
            ]
            rest = [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]
            return too_long + (self._batch(rest) if rest else [])
        wanted = [prompt.request.generation.max_new_tokens for prompt in prompts]
        limits = wanted
        if self._context is not None:
            limits = [min(n, self._context - length) for n, length in zip(wanted, lengths, strict=True)]
        new = self._generated(prompts, inputs, limits)
        return [
            self._response(prompt.request, ids[:limit], length)
            for prompt, ids, limit, length in zip(prompts, new, limits, lengths, strict=True)
        ]

    def _generated(self, prompts: list[_Prompt], inputs: Any, limits: list[int]) -> list[list[int]]:
        """Return the new token ids of each prompt, padded."""
        import torch

        settings = prompts[0].request.generation
        sampling: dict[str, Any] = {"do_sample": False}
        if settings.temperature > 0:
            key = "|".join([str(self._seed), *(prompt.request.id for prompt in prompts)])
            torch.manual_seed(int.from_bytes(sha256(key.encode()).digest()[:7], "big"))
            sampling = {"do_sample": True, "temperature": settings.temperature, "top_k": 0, "top_p": 1.0}
        if settings.stop:
            sampling |= {"stop_strings": list(settings.stop), "tokenizer": self._processor.tokenizer}
        inputs = inputs.to(self._model.device, dtype=self._model.dtype)
        start = int(inputs["input_ids"].shape[1])
        with torch.inference_mode():
            output = self._model.generate(
                **inputs, **sampling, max_new_tokens=max(limits), stopping_criteria=[_RowLimits(start, limits)]
            )
        ids: list[list[int]] = output[:, start:].tolist()
        return ids

    def _response(self, request: Request, ids: list[int], length: int) -> Response:
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        text: str = self._processor.tokenizer.decode(ids[:end], skip_special_tokens=True)
        stops = [place for stop in request.generation.stop if (place := text.find(stop)) >= 0]
        n = len(ids) if end is None else end + 1
        if end is None and not stops and n < request.generation.max_new_tokens:
            what = f"the context of {self._context} tokens ended the answer after {n}"
            return Response.failure(request.id, "context", what)
        usage = {"prompt_tokens": float(length), "new_tokens": float(n)}
        return Response(request.id, text[: min(stops)] if stops else text, usage=usage)


@dataclass(frozen=True)
class _Prompt:
    """A request as the processor takes it."""

    request: Request
    messages: list[dict[str, Any]]
    images: list[Image.Image]


class _RowLimits:
    """Ends each row of a batch at its own number of new tokens.

    Args:
        start: Tokens of the padded prompt.
        limits: New tokens of each row.
    """

    def __init__(self, start: int, limits: list[int]) -> None:
        self._start, self._limits = start, limits

    def __call__(self, input_ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Tell which rows are done; ``input_ids`` is [batch, tokens], the result [batch]."""
        import torch

        new = input_ids.shape[1] - self._start
        return torch.tensor([new >= limit for limit in self._limits], device=input_ids.device)


def _as_set(ids: int | list[int] | None) -> set[int]:
    if ids is None:
        return set()
    return {ids} if isinstance(ids, int) else set(ids)
