"""Ray: many GPUs and nodes through ``ray.data.llm``, one pipeline over everything that is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radialog_instruct.errors import ModelError, UsageError, missing_extra
from radialog_instruct.files import replacing
from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.backends.vllm import VllmSettings
from radialog_instruct.replay.request import ReplayRequest, Sampling

_ROWS = 4096


@dataclass(frozen=True)
class RaySettings:
    """How the pipeline runs.

    Attributes:
        engine: How each copy of the engine is started.
        folder: Folder for the requests, which every node can read.
        address: The cluster; None joins the one this process belongs to, or starts one on this machine.
        replicas: Copies of the engine.
        batch_size: Requests a copy takes at a time.
    """

    engine: VllmSettings
    folder: Path
    address: str | None = None
    replicas: int = 1
    batch_size: int = 64


class RayBackend:
    """Runs one ``ray.data.llm`` pipeline.

    The driver reads the results as blocks finish and commits them; a killed pipeline is resumed by asking only for what
    the cache lacks. Ray's own checkpoints are not needed for that.

    Args:
        settings: How the pipeline runs.

    Raises:
        UsageError: If ray or vllm is not installed.
        ModelError: If the cluster cannot be joined.
    """

    name = "ray"

    def __init__(self, settings: RaySettings) -> None:
        # Nothing is reported from a machine with patients' data.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        try:
            import ray
            import ray.data.llm
            import vllm
        except ImportError as error:
            raise missing_extra(error.name or "ray", "ray") from error
        self._settings = settings
        self._versions = {"ray": ray.__version__, "vllm": str(vllm.__version__)}
        self._started = not ray.is_initialized()
        if self._started:
            local = settings.address is None and "RAY_ADDRESS" not in os.environ
            # Ray counts one core for reading, for the engine and for every stage beside it; more are promised than a
            # small machine has, because those stages hardly work.
            cores = {"num_cpus": max(os.cpu_count() or 1, 8)} if local else {"address": settings.address or "auto"}
            try:
                ray.init(include_dashboard=False, log_to_driver=False, **cores)
            except (ConnectionError, RuntimeError, OSError) as error:
                raise ModelError(
                    f"no cluster: {error}", where="--ray-address", mend="start one with ray start"
                ) from error

    def version(self) -> str:
        """Return Ray's version."""
        return str(self._versions["ray"])

    def versions(self) -> dict[str, str]:
        """Return vLLM's version."""
        return {"vllm": self._versions["vllm"]}

    def recovered(self) -> Iterator[tuple[Sampling, Result]]:
        """Yield nothing: finished blocks were yielded and committed."""
        return iter(())

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Run the pipeline over all requests.

        Raises:
            UsageError: If the requests cannot be written.
            ModelError: If the pipeline fails.
        """
        import ray
        from ray.data.llm import build_processor

        path = self._settings.folder / "requests.parquet"
        if self._settings.replicas < 1:
            raise UsageError("at least one replica", where="--replicas")
        left = dict.fromkeys(_write(path, requests))
        processor = build_processor(self._processor_config(), preprocess=_to_engine, postprocess=_from_engine)
        try:
            # A block is finished as a whole, and a kill loses the blocks under way: one block a batch.
            blocks = -(-len(left) // self._settings.batch_size)
            finished = processor(ray.data.read_parquet(str(path), override_num_blocks=max(blocks, 1)))
            for block in finished.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in block.to_pylist():
                    result = _result(row)
                    if result.key in left:
                        del left[result.key]
                        yield result
                yield None
        except (ray.exceptions.RayError, RuntimeError) as error:
            brief = " ".join(str(error).split())[-300:]
            mend = "run the same command again: committed answers are kept"
            raise ModelError(f"the pipeline failed: {brief}", where="ray", mend=mend) from error
        for key in left:
            yield Result(key, None, failure="the pipeline returned no row for it")

    def close(self) -> None:
        """Leave the cluster, and stop it where this process started it."""
        import ray

        if self._started and ray.is_initialized():
            ray.shutdown()

    def _processor_config(self) -> Any:
        import ray
        from ray.data.llm import vLLMEngineProcessorConfig

        settings, engine = self._settings, self._settings.engine
        arguments = engine.arguments()
        options: dict[str, Any] = {}
        if not ray.cluster_resources().get("GPU"):
            options["placement_group_config"] = {"bundles": [{"CPU": 1}]}
        return vLLMEngineProcessorConfig(
            model_source=arguments.pop("model"),
            engine_kwargs=arguments,
            batch_size=settings.batch_size,
            concurrency=settings.replicas,
            chat_template_stage={"enabled": True, "chat_template": engine.chat_template}
            if engine.chat_template
            else True,
            should_continue_on_error=True,
            log_engine_metrics=False,
            **options,
        )


def _write(path: Path, requests: Iterable[ReplayRequest]) -> Iterator[bytes]:
    """Write requests as Parquet, a row group at a time, and yield their keys."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("key", pa.string()), ("request", pa.string())])
    keys: list[bytes] = []
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        rows: list[tuple[str, str]] = []

        def flush() -> None:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            rows.clear()

        for request in requests:
            rows.append((request.key.hex(), json.dumps(request.body(""), ensure_ascii=False)))
            keys.append(request.key)
            if len(rows) == _ROWS:
                flush()
        if rows:
            flush()
    yield from keys


def _to_engine(row: dict[str, Any]) -> dict[str, Any]:
    """Turn a row into what the engine's stages take; runs in Ray's workers."""
    import json

    body = json.loads(row["request"])
    sampling = {name: body[name] for name in ("temperature", "top_p", "max_tokens")}
    if "structured_outputs" in body:
        sampling["structured_outputs"] = body["structured_outputs"]
    return {"key": row["key"], "messages": body["messages"], "sampling_params": sampling}


def _from_engine(row: dict[str, Any]) -> dict[str, Any]:
    """Keep of an engine's row what the cache needs; runs in Ray's workers."""
    return {
        "key": row["key"],
        "text": row.get("generated_text"),
        "prompt": int(row.get("num_input_tokens") or 0),
        "completion": int(row.get("num_generated_tokens") or 0),
        "limit": int(row["sampling_params"]["max_tokens"]) if row.get("sampling_params") else 0,
    }


def _result(row: dict[str, Any]) -> Result:
    key = bytes.fromhex(row["key"])
    error = row.get("__inference_error__")
    if error or row.get("text") is None:
        return Result(key, None, failure=f"the engine reports: {' '.join(str(error).split())[:200]}")
    # Ray passes no finish reason on; an answer that took all its tokens was cut off.
    cut = row["limit"] and row["completion"] >= row["limit"]
    return Result(key, row["text"], "length" if cut else "stop", row["prompt"], row["completion"])
