"""``radialog-model serve``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radialog_instruct.errors import UsageError, missing_extra
from radialog_model.commands.extras import need_torch

if TYPE_CHECKING:
    from radialog_model.checkpoint import Checkpoint
    from radialog_model.serve.backend import Backend

KEY_VARIABLE = "RADIALOG_API_KEY"
UPSTREAM_KEY_VARIABLE = "RADIALOG_UPSTREAM_API_KEY"


def serve(
    weights: Annotated[
        str | None, typer.Option(help="Folder or Hub repository; the demonstration weights by default.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8001,
    backend: Annotated[str, typer.Option(help="transformers (in this process) or vllm.")] = "transformers",
    upstream: Annotated[
        str | None, typer.Option(help="A vLLM server that runs, up to /v1; without it one is started.")
    ] = None,
    vllm_arg: Annotated[
        list[str] | None, typer.Option(help="An argument for the vLLM server that is started; several times.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name clients ask for; radialog-VARIANT by default.")] = None,
    api_key: Annotated[str | None, typer.Option(help=f"Key clients must send; ${KEY_VARIABLE} by default.")] = None,
    findings: Annotated[str, typer.Option(help="Where a request does not say: predicted or off.")] = "predicted",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens where a request does not say.")] = 300,
    slots: Annotated[int, typer.Option(min=1, help="Most answers under way (transformers).")] = 8,
    image_host: Annotated[
        list[str] | None, typer.Option(help="A host that images may be fetched from; none by default.")
    ] = None,
    max_body: Annotated[int, typer.Option(min=1, help="Most megabytes of a request.")] = 32,
    max_pixels: Annotated[int, typer.Option(min=1, help="Most megapixels of an image.")] = 50,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the decoding step (transformers).")] = False,
) -> None:
    """Serve the model to OpenAI's clients; predicted findings are put into the prompt."""
    if backend not in ("transformers", "vllm"):
        raise UsageError(f"no backend {backend!r}", where="--backend", mend="choose transformers or vllm")
    if findings not in ("predicted", "off"):
        raise UsageError(f"findings={findings}", where="--findings", mend="choose predicted or off")
    if backend == "transformers" and (upstream or vllm_arg):
        raise UsageError("only for --backend vllm", where="--upstream, --vllm-arg", mend="add --backend vllm")
    if upstream and vllm_arg:
        raise UsageError("the server runs already", where="--vllm-arg", mend="leave out --upstream to start one")
    need_torch()
    for package in ("starlette", "uvicorn", "httpx2"):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise missing_extra(package, "serve") from error
    from radialog_model.serve.app import ServerSettings, build_app
    from radialog_model.serve.images import ImageLimits
    from radialog_model.serve.run import check_host, run_server, stops_end_the_program

    key = api_key or os.environ.get(KEY_VARIABLE) or None
    check_host(host, key)
    limits = ImageLimits(max_bytes=max_body * 2**20, max_pixels=max_pixels * 10**6, hosts=frozenset(image_host or ()))
    own = {"slots": slots, "device": device, "dtype": dtype, "compile": compile}
    with (
        stops_end_the_program(),
        _opened(backend, weights, upstream=upstream, arguments=vllm_arg or [], **own) as (checkpoint, answering),
    ):
        model = name or f"radialog-{checkpoint.variant}"
        settings = ServerSettings(model, key, max_new_tokens, max_body * 2**20, limits, findings)
        for notice in checkpoint.notices:
            print(f"radialog-model: {notice}", file=sys.stderr)
        print(f"radialog-model: {model} on http://{host}:{port}/v1", file=sys.stderr, flush=True)
        run_server(build_app(checkpoint, answering, settings), host, port)


@contextmanager
def _opened(
    backend: str, weights: str | None, *, upstream: str | None, arguments: list[str], **own: Any
) -> Iterator[tuple[Checkpoint, Backend]]:
    """Load what answers; a vLLM server that is started ends with the context."""
    if backend == "transformers":
        from radialog_model.checkpoint import load_checkpoint
        from radialog_model.generate import Answerer
        from radialog_model.serve.local import Local

        checkpoint = load_checkpoint(weights, device=own["device"], dtype=own["dtype"])
        yield checkpoint, Local(Answerer(checkpoint, compile=own["compile"]), slots=own["slots"])
        return
    from radialog_model.checkpoint import checkpoint_folder
    from radialog_model.serve.child import vllm_child
    from radialog_model.serve.tower import load_tower
    from radialog_model.serve.upstream import Upstream

    checkpoint = load_tower(weights, device=own["device"])
    if upstream is not None:
        yield checkpoint, Upstream(checkpoint, upstream, key=os.environ.get(UPSTREAM_KEY_VARIABLE))
        return
    with vllm_child(checkpoint_folder(weights), dtype=own["dtype"], arguments=arguments) as (url, alive):
        yield checkpoint, Upstream(checkpoint, url, alive=alive)
