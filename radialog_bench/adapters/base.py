"""What a model is to the bench: one class with one method."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from radialog_bench.chat import Message, Request, Response
from radialog_instruct.records import Study, Terms


@dataclass(frozen=True)
class BenchContext:
    """What a baseline may know of the run. A model under test gets only ``terms`` and, in ablations, ``findings``.

    Attributes:
        answer: What the reference would answer to a request.
        study_of: Image key -> (study id, subject id).
        findings: Image key -> findings text of the reference labels, for ablations that show it to the model.
        studies: Reads all studies of the source anew.
        split: The evaluated split.
        terms: What the source's licence allows; credentialed data must not leave for a public host.
    """

    answer: Callable[[Request], str]
    study_of: Mapping[str, tuple[str, str]]
    findings: Mapping[str, str]
    studies: Callable[[], Iterator[Study]]
    split: str
    terms: Terms


def image_key(request_id: str) -> str:
    """Return the key of what a request is about: study and image, the same in all evaluations and turns.

    Args:
        request_id: ``evaluation/study/image``, further questions of a dialog with ``#`` and a name behind it.
    """
    return request_id.partition("#")[0].partition("/")[2]


class Adapter(ABC):
    """A model under test.

    A subclass implements ``generate``; everything else has a default. It is constructed with the key-value pairs of
    ``--model-args`` and must be stateless: each request carries its whole dialog.

    Attributes:
        name: Shown in results.
        needs_images: Whether a request's images must be readable files; if so, missing ones stop the run before the
            model is asked.
        limits_to_images: Whether samples without a readable image are left out and counted instead.
        notices: What a reader of the numbers must know, in plain words.
        free_arguments: Constructor arguments that do not change an answer, such as a device or a number of
            connections; a run may be resumed with others.
    """

    name: str = ""
    needs_images: bool = True
    limits_to_images: bool = False
    notices: tuple[str, ...] = ()
    free_arguments: frozenset[str] = frozenset()

    @abstractmethod
    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Answer a batch of requests.

        Args:
            requests: The requests; decode as ``request.generation`` says.

        Returns:
            One response a request, in any order, as they finish; ``Response.failure`` where there is no answer.
        """

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the messages as the model reads them; the neutral ones by default. Logged, and part of the key."""
        return request.messages

    def fingerprint(self) -> str:
        """Return what identifies the model's answers beside the request; by default its code.

        Override it to cover weights: two models with one fingerprint share answers when a run is resumed.
        """
        return code_fingerprint(type(self))

    def prepare(self, context: BenchContext) -> None:  # noqa: B027 - optional, not abstract
        """Take what a baseline needs to know; a model under test ignores it."""

    def limit_silence(self, seconds: float) -> bool:
        """Take the run's ``--timeout``.

        Args:
            seconds: How long the model may be silent.

        Returns:
            Whether the adapter itself ends and replaces what hangs. By default it cannot, and the run ends then.
        """
        del seconds
        return False

    def close(self) -> None:  # noqa: B027
        """Release what the model holds; called once at the end."""


def rendered_messages(adapter: Adapter, request: Request) -> tuple[Message, ...]:
    """Return a request's messages as the adapter renders them."""
    return tuple(adapter.render(request))


def code_fingerprint(kind: type[Any]) -> str:
    """Return a hash of a class's name and of the file it is defined in, so that editing it asks anew."""
    file = inspect.getsourcefile(kind)
    source = Path(file).read_bytes() if file and Path(file).is_file() else b""
    return sha256(f"{kind.__module__}.{kind.__qualname__}".encode() + source).hexdigest()
