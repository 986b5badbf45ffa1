"""Requests for the tests of the adapters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from radialog_bench import Adapter, Generation, ImageRef, Message, Request, Response
from radialog_bench.adapters.base import BenchContext
from radialog_bench.contract import checked_responses
from radialog_instruct.assets import demo_dir
from radialog_instruct.records import Terms

IMAGES = tuple(sorted((demo_dir() / "images").iterdir()))


def request(
    name: str,
    *texts: str,
    image: Path | None = IMAGES[0],
    tokens: int = 8,
    temperature: float = 0.0,
    stop: tuple[str, ...] = (),
    task: str = "report_generation",
) -> Request:
    """Build a request; texts alternate between user and assistant."""
    turns = texts or ("Describe this X-ray.",)
    messages = tuple(Message("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(turns))
    images = (ImageRef(image.stem, image),) if image is not None else ()
    return Request(name, task, "report", messages, images, Generation(tokens, temperature, stop))


def answers(adapter: Adapter, requests: Iterable[Request], **settings: Any) -> dict[str, Response]:
    """Ask as the runner does."""
    return {response.id: response for response in checked_responses(adapter, list(requests), **settings)}


def context(terms: Terms = Terms.OPEN) -> BenchContext:
    """Return what a run tells an adapter."""
    return BenchContext(
        answer=lambda r: "reference", study_of={}, findings={}, studies=lambda: iter(()), split="test", terms=terms
    )
