"""vLLM in this process: the fastest way on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from radialog_instruct.errors import ModelError, missing_extra
from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.request import ReplayRequest, Sampling

if TYPE_CHECKING:
    from vllm import SamplingParams

CHUNK = 4096
"""Requests a chunk: nothing of a chunk is kept before all of it has finished, and the engine drains at its end."""


@dataclass(frozen=True)
class VllmSettings:
    """How the engine is started.

    Attributes:
        model: Repository or folder.
        revision: Revision of the repository, or None.
        chat_template: A chat template instead of the model's own.
        tensor_parallel: GPUs one copy of the model is spread over.
        data_parallel: Copies of the model.
        max_model_len: Longest prompt and answer together; None takes the model's own.
        chunk: Requests a chunk.
        engine_args: Further arguments of ``vllm.LLM``.
    """

    model: str
    revision: str | None = None
    chat_template: str | None = None
    tensor_parallel: int = 1
    data_parallel: int = 1
    max_model_len: int | None = None
    chunk: int = CHUNK
    engine_args: dict[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``vllm.LLM``; prompts share their beginning, so prefixes are cached."""
        given: dict[str, Any] = {"model": self.model, "enable_prefix_caching": True}
        if self.revision is not None:
            given["revision"] = self.revision
        if self.tensor_parallel > 1:
            given["tensor_parallel_size"] = self.tensor_parallel
        if self.data_parallel > 1:
            given["data_parallel_size"] = self.data_parallel
        if self.max_model_len is not None:
            given["max_model_len"] = self.max_model_len
        return {**given, **self.engine_args}


class VllmBackend:
    """Asks ``vllm.LLM.chat`` a chunk at a time.

    Prompts are counted in tokens first: a single prompt beyond the context would end the whole call. A chunk is sorted
    by the beginning that prompts of a task share, which the engine's cache then holds, and by length; it is yielded
    when it has finished.

    Args:
        settings: How the engine is started.

    Raises:
        UsageError: If vllm is not installed.
        ModelError: If the engine does not start.
    """

    name = "vllm"

    def __init__(self, settings: VllmSettings) -> None:
        self._settings = settings
        self._llm, self._version = open_llm(settings.arguments(), mend="check --model and --engine-arg")
        self._context = int(self._llm.llm_engine.model_config.max_model_len)

    def version(self) -> str:
        """Return vLLM's version."""
        return self._version

    def versions(self) -> dict[str, str]:
        """Return the versions of torch and transformers."""
        return torch_versions()

    def recovered(self) -> Iterator[tuple[Sampling, Result]]:
        """Yield nothing: what has finished was yielded."""
        return iter(())

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Answer chunk by chunk.

        Raises:
            ModelError: If the engine dies.
        """
        waiting = iter(requests)
        while chunk := list(islice(waiting, self._settings.chunk)):
            fitting: list[tuple[int, ReplayRequest]] = []
            for request in chunk:
                n = self._prompt_tokens(request)
                if n + request.sampling.max_tokens > self._context:
                    failure = f"the prompt has {n} tokens, with the answer more than the context of {self._context}"
                    yield Result(request.key, None, failure=failure)
                else:
                    fitting.append((n, request))
            fitting.sort(key=lambda pair: (_shared_beginning(pair[1]), pair[0]))
            yield from self._answered([request for _, request in fitting])
            yield None

    def close(self) -> None:
        """Let go of the engine."""
        self.__dict__.pop("_llm", None)

    def _answered(self, requests: list[ReplayRequest]) -> Iterator[Result]:
        if not requests:
            return
        messages: Any = [request.messages for request in requests]
        try:
            outputs = self._llm.chat(
                messages,
                [sampling_parameters(request) for request in requests],
                use_tqdm=False,
                chat_template=self._settings.chat_template,
            )
        except Exception as error:
            mend = "run the same command again: finished chunks are kept"
            raise ModelError(f"the engine failed: {_brief(error)}", where=self._settings.model, mend=mend) from error
        for request, output in zip(requests, outputs, strict=True):
            best = output.outputs[0]
            yield Result(
                request.key,
                best.text,
                best.finish_reason or "stop",
                len(output.prompt_token_ids or ()),
                len(best.token_ids),
            )

    def _prompt_tokens(self, request: ReplayRequest) -> int:
        tokenizer: Any = self._llm.get_tokenizer()
        ids = tokenizer.apply_chat_template(
            request.messages,
            chat_template=self._settings.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        return len(ids)


def open_llm(arguments: dict[str, Any], *, mend: str) -> tuple[Any, str]:
    """Start ``vllm.LLM``.

    Args:
        arguments: Its arguments; ``model`` among them.
        mend: What to do when it does not start.

    Returns:
        The engine and vLLM's version.

    Raises:
        UsageError: If vllm is not installed.
        ModelError: If the engine does not start.
    """
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # stdout is the summary's
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing is reported from a machine with patients' data
    try:
        import vllm
    except ImportError as error:
        raise missing_extra("vllm", "vllm") from error
    try:
        return vllm.LLM(**arguments), str(vllm.__version__)
    except Exception as error:
        raise ModelError(f"the engine does not start: {_brief(error)}", where=arguments["model"], mend=mend) from error


def _shared_beginning(request: ReplayRequest) -> str:
    first = request.ask.messages[0]
    return first.content if first.role == "system" else ""


def sampling_parameters(request: ReplayRequest) -> SamplingParams:
    """Return a request's sampling in vLLM's form."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    structure: Any = request.structure
    return SamplingParams(
        temperature=request.sampling.temperature,
        top_p=request.sampling.top_p,
        max_tokens=request.sampling.max_tokens,
        structured_outputs=StructuredOutputsParams(**structure) if structure else None,
    )


def torch_versions() -> dict[str, str]:
    """Return the versions of torch and transformers, and the accelerator's name where there is one."""
    import torch
    import transformers

    found = {"torch": str(torch.__version__), "transformers": transformers.__version__}
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name(0)
    return found


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
