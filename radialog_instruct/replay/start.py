"""Turns the options of ``replay`` into a policy and a backend that is started when an answer is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from radialog_instruct.config import BuildPlaces
from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.replay.backends.base import Backend
from radialog_instruct.replay.backends.batchfile import BatchFileBackend, BatchSettings
from radialog_instruct.replay.backends.echo import EchoBackend
from radialog_instruct.replay.backends.vllm import VllmBackend, VllmSettings
from radialog_instruct.replay.hosts import check_host
from radialog_instruct.replay.identity import model_identity
from radialog_instruct.replay.request import ModelIdentity, ReplayPolicy
from radialog_instruct.sources import SOURCES


def policy_of(given: Mapping[str, Any]) -> ReplayPolicy:
    """Return which requests are made.

    Raises:
        UsageError: If an option is out of range, or the model is missing.
        ModelError: If the model's folder holds none.
    """
    if given["backend"] == "echo":
        identity = ModelIdentity(model="echo", revision="1")
    elif given["model"] is None:
        raise UsageError("the LLM's name is missing", where="--model", mend="give a repository or a folder")
    else:
        identity = model_identity(given["model"], given["revision"], given["chat_template"])
    try:
        return ReplayPolicy(
            identity=identity,
            temperature=given["temperature"],
            retry_temperature=given["retry_temperature"],
            top_p=given["top_p"],
            attempts=given["attempts"],
            judge=given["llm_judge"],
            structured=given["structured"],
            judge_labeler=given["judge"],
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise UsageError(str(first["msg"]), where=option) from error


def backend_factory(given: Mapping[str, Any], source: str, places: BuildPlaces) -> Callable[[], Backend]:
    """Return what starts the backend; everything that can be wrong without an engine is checked at once.

    Args:
        given: The options.
        source: Name of the source, whose terms decide which servers may read it.
        places: Where a replay keeps its files.

    Raises:
        UsageError: If an option is wrong, or a server must not read the source.
    """
    backend, out = given["backend"], places.out
    if given["chat_template"] is not None and backend not in ("vllm", "ray"):
        raise UsageError("only vllm and ray take one", where="--chat-template", mend="give it to the server instead")
    if backend == "echo":
        return EchoBackend
    name = given["served_model"] or given["model"]
    if backend == "openai":
        check_host(given["base_url"], SOURCES[source].terms, given["zero_retention"] or ())
        return lambda: _openai(given, name)
    if backend == "batchfile":
        settings = BatchSettings(out / "batch", name, given["batch_command"], given["batch_engine"])
        return lambda: BatchFileBackend(settings)
    engine = _engine(given)
    if backend == "vllm":
        return lambda: VllmBackend(engine)
    return lambda: _ray(given, engine, out)


def _openai(given: Mapping[str, Any], name: str) -> Backend:
    from radialog_instruct.chat_server import ServerSettings
    from radialog_instruct.replay.backends.openai import OpenAIBackend

    return OpenAIBackend(
        ServerSettings(
            base_url=given["base_url"].rstrip("/"),
            model=name,
            concurrency=given["concurrency"],
            timeout=given["timeout"],
            retries=given["retries"],
            backoff=given["backoff"],
            api_key_variable=given["api_key_env"],
        )
    )


def _ray(given: Mapping[str, Any], engine: VllmSettings, out: Path) -> Backend:
    from radialog_instruct.replay.backends.ray import RayBackend, RaySettings

    return RayBackend(
        RaySettings(engine, (out / "ray").absolute(), given["ray_address"], given["replicas"], given["batch_size"])
    )


def _engine(given: Mapping[str, Any]) -> VllmSettings:
    from radialog_instruct.replay.cli import engine_arguments

    template: Path | None = given["chat_template"]
    try:
        text = template.read_text(encoding="utf-8") if template is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(template), mend="check --chat-template") from error
    return VllmSettings(
        model=given["model"],
        revision=given["revision"],
        chat_template=text,
        tensor_parallel=given["tensor_parallel"],
        data_parallel=given["data_parallel"],
        max_model_len=given["max_model_len"],
        chunk=given["chunk"],
        engine_args=engine_arguments(given["engine_arg"]),
    )
