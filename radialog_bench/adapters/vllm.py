"""vLLM in this process: images beside the text, prefixes cached, as many requests at once as memory holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from PIL import Image

from radialog_bench.adapters.base import Adapter
from radialog_bench.adapters.content import chat_messages, request_images, template_text, with_system
from radialog_bench.adapters.weights import local_model, unpinned_notice, weights_fingerprint
from radialog_bench.chat import Message, Request, Response
from radialog_instruct.errors import DataError, ModelError, UsageError
from radialog_instruct.replay.backends.vllm import open_llm

_FAULTY_INPUT = frozenset({"VLLMClientError", "ValueError", "TypeError", "NotImplementedError"})
"""Bases of what vLLM raises, by version, for a request that it cannot take; anything else is the engine's own fault."""


class Vllm(Adapter):
    """Asks ``vllm.LLM.chat`` a batch at a time; give ``--batch-size`` a few hundred on a GPU.

    A request the engine does not take (a prompt beyond its context) fails alone. The model's stored sampling settings
    do not hold: temperature 0 is the plain arg max.

    Args:
        model: Repository or folder.
        revision: Commit of the repository.
        dtype: As vLLM takes it.
        model_impl: ``auto``, ``vllm``, or ``transformers`` for models that vLLM has no code of its own for.
        max_model_len: Longest prompt and answer together; None takes the model's own.
        tensor_parallel_size: GPUs the model is spread over.
        gpu_memory_utilization: Share of a GPU's memory.
        trust_remote_code: Whether Python code of the repository may run.
        chat_template: A Jinja file in place of the model's own template.
        system: A system message before each dialog.
        images: Images a request may hold.
        seed: Seed of sampling, where the temperature is above 0.
        engine: Further arguments of ``vllm.LLM``, as an object.

    Raises:
        UsageError: If vllm is not installed, or ``engine`` is no object.
        ModelError: If the engine does not start.
    """

    free_arguments = frozenset({"tensor_parallel_size", "gpu_memory_utilization"})

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        model_impl: str = "auto",
        max_model_len: int | None = None,
        tensor_parallel_size: int = 1,
        gpu_memory_utilization: float | None = None,
        trust_remote_code: bool = False,
        chat_template: str | None = None,
        system: str | None = None,
        images: int = 1,
        seed: int = 0,
        engine: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(engine, dict | None):
            mend = """for example engine='{"enforce_eager": true}'"""
            raise UsageError(f"engine={engine!r} is no object", where="--model-args", mend=mend)
        self.name = f"vllm:{model}"
        self._system, self._seed = system, seed
        self._place = local_model(model)
        self._template = template_text(chat_template)
        given: dict[str, Any] = {
            "model": self._place,
            "revision": revision,
            "dtype": dtype,
            "model_impl": model_impl,
            "max_model_len": max_model_len,
            "tensor_parallel_size": tensor_parallel_size,
            "gpu_memory_utilization": gpu_memory_utilization,
            "trust_remote_code": trust_remote_code,
            "limit_mm_per_prompt": {"image": images},
            "enable_prefix_caching": True,
        }
        arguments = {name: value for name, value in given.items() if value is not None} | (engine or {})
        self._llm, _ = open_llm(arguments, mend="check --model and --model-args")
        self._context = int(self._llm.llm_engine.model_config.max_model_len)
        template = sha256((self._template or "").encode()).hexdigest()
        self._fingerprint = f"{weights_fingerprint(self._place, revision)}|{template}"
        self.notices = unpinned_notice(self._place, revision)

    def fingerprint(self) -> str:
        """Return the weights' revision or digest, and the hash of a chat template that replaces their own."""
        return self._fingerprint

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the neutral dialog behind the system message."""
        return with_system(request.messages, self._system)

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer; an image that cannot be read fails its own request only.

        Raises:
            ModelError: If the engine dies.
        """
        ready: list[tuple[Request, list[Image.Image]]] = []
        for request in requests:
            try:
                ready.append((request, request_images(request)))
            except DataError as error:
                yield Response.failure(request.id, "image", str(error))
        if ready:
            yield from self._answered(ready)

    def close(self) -> None:
        """Let go of the engine."""
        self.__dict__.pop("_llm", None)

    def _answered(self, ready: list[tuple[Request, list[Image.Image]]]) -> Iterator[Response]:
        messages = [
            chat_messages(self.render(request), [{"type": "image_pil", "image_pil": image} for image in images])
            for request, images in ready
        ]
        try:
            outputs = self._llm.chat(
                messages,
                [self._sampling(request) for request, _ in ready],
                use_tqdm=False,
                chat_template=self._template,
            )
        except Exception as error:  # noqa: BLE001 - vLLM's own types differ by version; they are told apart below
            # One faulty request ends the whole call, before anything is computed; halving finds it. A dead engine fails
            # again at once.
            if len(ready) == 1:
                yield self._refused(ready[0][0], error)
                return
        else:
            for (request, _), output in zip(ready, outputs, strict=True):
                yield self._response(request, output)
            return
        half = len(ready) // 2
        yield from self._answered(ready[:half])
        yield from self._answered(ready[half:])

    def _refused(self, request: Request, error: Exception) -> Response:
        """Return the failure of a request that the engine does not take.

        Raises:
            ModelError: If it is the engine that failed.
        """
        if not any(base.__name__ in _FAULTY_INPUT for base in type(error).__mro__):
            mend = "run the same command again: answers are kept"
            raise ModelError(f"the engine failed: {_brief(error)}", where=self.name, mend=mend) from error
        too_long = any(word in str(error) for word in ("context", "max_model_len", "maximum model length"))
        return Response.failure(request.id, "context" if too_long else "adapter", _brief(error))

    def _response(self, request: Request, output: Any) -> Response:
        best = output.outputs[0]
        new = len(best.token_ids)
        if best.finish_reason == "length" and new < request.generation.max_new_tokens:
            what = f"the context of {self._context} tokens ended the answer after {new}"
            return Response.failure(request.id, "context", what)
        usage = {"prompt_tokens": float(len(output.prompt_token_ids or ())), "new_tokens": float(new)}
        return Response(request.id, best.text, usage=usage)

    def _sampling(self, request: Request) -> Any:
        from vllm import SamplingParams

        generation = request.generation
        return SamplingParams(
            temperature=generation.temperature,
            max_tokens=generation.max_new_tokens,
            stop=list(generation.stop) or None,
            seed=self._seed if generation.temperature > 0 else None,
        )


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
