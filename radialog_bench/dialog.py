"""A dialog is a generator: it yields what it wants to know and goes on with the answer.

    def dialog(self, sample):
        draft = yield Ask(report_request(sample))
        labels = yield Label(draft.text)
        ...
        return Outcome(draft, labels)

The runner owns batching, caching, resuming and errors.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from radialog_bench.chat import Failure, Request

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the model; the dialog goes on with its ``Response``, or with ``AskFailed`` raised in it."""

    request: Request


@dataclass(frozen=True, slots=True)
class Label:
    """Label a text; the dialog goes on with its ``Labels``."""

    text: str


class All:
    """Follow several effects or dialogs at once; the dialog goes on with the list of their results, in order.

    A branch that failed has its ``AskFailed`` as result, so that one failure does not lose the others.

    Args:
        *branches: Effects, or dialogs of their own.
    """

    __slots__ = ("branches",)

    def __init__(self, *branches: Effect | Dialog[Any]) -> None:
        self.branches = branches


Effect = Ask | Label | All
Dialog = Generator[Effect, Any, Result]
"""A conversation that ends with a result."""


class AskFailed(Exception):  # noqa: N818 - it reads as what happened
    """Raised inside a dialog whose request has no answer.

    Args:
        request: The request.
        failure: Why it failed.
    """

    def __init__(self, request: Request, failure: Failure) -> None:
        super().__init__(f"{request.id}: {failure.kind}: {failure.message}")
        self.request, self.failure = request, failure
