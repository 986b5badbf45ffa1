"""The dialog runner: many dialogs in flight, full batches or a steady stream to the adapter, answers in any order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from radialog_bench.adapters.base import Adapter, rendered_messages
from radialog_bench.adapters.streaming import StreamingAdapter
from radialog_bench.chat import Message, Request, Response
from radialog_bench.contract import checked_responses, checked_stream
from radialog_bench.dialog import All, Ask, AskFailed, Dialog, Label
from radialog_bench.responses import ResponseLog, request_key
from radialog_instruct.errors import ModelError
from radialog_instruct.findings import Labels

_LABELS_KEPT = 4096
"""Labelled texts that are remembered, so that memory does not grow with the run."""

LabelMany = Callable[[Sequence[str]], list[Labels]]


@dataclass(frozen=True)
class RunnerSettings:
    """How the runner works.

    Attributes:
        batch_size: Requests handed to the adapter at once.
        window: Dialogs in flight; at least a few batches keep batches full.
        timeout: Longest silence in seconds of an adapter that answers in batches, or None without a limit.
    """

    batch_size: int = 8
    window: int = 64
    timeout: float | None = None


@dataclass
class RunnerStats:
    """What a run did.

    Attributes:
        asked: Requests sent to the adapter.
        from_log: Requests answered from the log.
        failures: Failed requests by kind.
        batches: Sizes of the batches -> how many.
    """

    asked: int = 0
    from_log: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)


@dataclass(eq=False)
class _Branch:
    """A running generator and where its result goes."""

    generator: Dialog[Any]
    parent: _Join | None
    place: int


@dataclass(eq=False)
class _Join:
    """A branch that waits for several others."""

    waiting: _Branch
    results: list[Any]
    missing: int


@dataclass(frozen=True, slots=True)
class _Pending:
    """A request the log cannot answer, ready to be sent."""

    branch: _Branch
    request: Request
    key: str
    rendered: tuple[Message, ...]


class _Queue:
    """Requests to be sent. Those with a history go first: the longest dialogs decide when a run ends."""

    def __init__(self) -> None:
        self._later: deque[_Pending] = deque()
        self._first: deque[_Pending] = deque()

    def __len__(self) -> int:
        return len(self._first) + len(self._later)

    def append(self, pending: _Pending) -> None:
        (self._first if len(pending.request.messages) > 1 else self._later).append(pending)

    def popleft(self) -> _Pending:
        return (self._first or self._later).popleft()


class Runner:
    """Drives dialogs to their ends.

    Args:
        adapter: The model.
        fingerprint: Its fingerprint.
        log: Where answers are kept and found.
        label_many: The labeler, for ``Label`` effects.
        settings: Batch size and window.
        progress: Told the number of finished dialogs.
    """

    def __init__(
        self,
        adapter: Adapter,
        fingerprint: str,
        log: ResponseLog,
        label_many: LabelMany,
        settings: RunnerSettings | None = None,
        progress: Callable[[int], object] = bool,
    ) -> None:
        self._adapter, self._fingerprint, self._log = adapter, fingerprint, log
        self._label_many, self._progress = label_many, progress
        self._settings = settings or RunnerSettings()
        self.stats = RunnerStats()
        self._ready: deque[tuple[_Branch, Any, AskFailed | None]] = deque()
        self._asks: deque[tuple[_Branch, Request]] = deque()
        self._queue = _Queue()
        self._open: dict[str, _Pending] = {}
        self._texts: list[tuple[_Branch, str]] = []
        self._labels: dict[str, Labels] = {}
        self._done: list[tuple[int, Any]] = []
        self._in_flight = self._finished = 0

    def run(self, dialogs: Iterable[Dialog[Any]]) -> Iterator[tuple[int, Any]]:
        """Run dialogs and yield (index, result) as they end, in any order.

        A dialog that lets ``AskFailed`` escape has that exception as its result.

        Raises:
            ModelError: If the adapter breaks its contract.
        """
        waiting = enumerate(dialogs)
        while True:
            yield from self._advance(waiting)
            if self._texts and len(self._queue) < self._settings.batch_size:
                self._label()
            elif self._queue:
                for _ in self._answers():
                    yield from self._advance(waiting)
                    if self._texts and not self._queue:
                        self._label()
                        yield from self._advance(waiting)
            elif not self._in_flight:
                return

    def _advance(self, waiting: Iterator[tuple[int, Dialog[Any]]]) -> Iterator[tuple[int, Any]]:
        """Start dialogs, take every dialog as far as it gets without the model, and yield what is finished."""
        window = max(self._settings.window, self._settings.batch_size)
        while True:
            for place, dialog in islice(waiting, window - self._in_flight):
                self._in_flight += 1
                self._ready.append((_Branch(dialog, None, place), None, None))
            while self._ready or self._asks:
                while self._ready:
                    self._step(*self._ready.popleft())
                while self._asks:
                    self._prepare(*self._asks.popleft())
            if not self._done:
                return
            done, self._done = self._done, []
            self._in_flight -= len(done)
            self._finished += len(done)
            yield from done
            self._progress(self._finished)

    def _step(self, branch: _Branch, value: Any, error: AskFailed | None) -> None:
        try:
            effect = branch.generator.throw(error) if error is not None else branch.generator.send(value)
        except StopIteration as end:
            self._finish(branch, end.value)
            return
        except AskFailed as failure:
            self._finish(branch, failure)
            return
        if isinstance(effect, Ask):
            self._asks.append((branch, effect.request))
        elif isinstance(effect, Label):
            self._texts.append((branch, effect.text))
        elif isinstance(effect, All):
            self._fork(branch, effect)
        else:
            raise TypeError(f"a dialog yielded {effect!r}; expected Ask, Label or All")

    def _fork(self, branch: _Branch, effect: All) -> None:
        join = _Join(branch, [None] * len(effect.branches), len(effect.branches))
        if not effect.branches:
            self._ready.append((branch, [], None))
        for place, part in enumerate(effect.branches):
            generator = _single(part) if isinstance(part, Ask | Label | All) else part
            self._ready.append((_Branch(generator, join, place), None, None))

    def _finish(self, branch: _Branch, result: Any) -> None:
        if branch.parent is None:
            self._done.append((branch.place, result))
            return
        join = branch.parent
        join.results[branch.place] = result
        join.missing -= 1
        if join.missing == 0:
            self._ready.append((join.waiting, join.results, None))

    def _label(self) -> None:
        pending, self._texts = self._texts, []
        labels = {text: self._labels[text] for _, text in pending if text in self._labels}
        new = list(dict.fromkeys(text for _, text in pending if text not in labels))
        labels.update(zip(new, self._label_many(new), strict=True))
        self._labels = dict(islice((labels | self._labels).items(), _LABELS_KEPT))
        self._ready.extend((branch, labels[text], None) for branch, text in pending)

    def _prepare(self, branch: _Branch, request: Request) -> None:
        """Answer a request from the log, or put it into the queue."""
        rendered = rendered_messages(self._adapter, request)
        key = request_key(self._fingerprint, request, rendered)
        logged = self._log.get(key)
        if logged is not None:
            self.stats.from_log += 1
            self._ready.append((branch, logged, None))
        else:
            self._queue.append(_Pending(branch, request, key, rendered))

    def _answers(self) -> Iterator[None]:
        """Ask the model, and stop whenever dialogs can go on."""
        if isinstance(self._adapter, StreamingAdapter) and callable(self._adapter.stream):
            asked = self.stats.asked
            for response in checked_stream(self._adapter, self._take, self._open, self._settings.timeout):
                if response is not None:
                    self._answered(response)
                self._log.settle()
                yield
            if self.stats.asked == asked:
                mend = "see radialog_bench.adapters.streaming"
                raise ModelError("the adapter's stream took no request", where=self._adapter.name, mend=mend)
        else:
            requests = [self._sent() for _ in range(min(len(self._queue), self._settings.batch_size))]
            self.stats.batches[len(requests)] += 1
            for response in checked_responses(self._adapter, requests, self._settings.timeout):
                self._answered(response)
            yield
        self._log.settle()

    def _take(self) -> Request | None:
        return self._sent() if self._queue else None

    def _sent(self) -> Request:
        pending = self._queue.popleft()
        if pending.request.id in self._open:
            mend = "this is a fault of the evaluation"
            raise ModelError("two requests have one id", where=pending.request.id, mend=mend)
        self._open[pending.request.id] = pending
        self.stats.asked += 1
        return pending.request

    def _answered(self, response: Response) -> None:
        pending = self._open.pop(response.id)
        self._log.add(pending.key, pending.request, pending.rendered, response)
        if response.error is not None:
            self.stats.failures[response.error.kind] += 1
            self._ready.append((pending.branch, None, AskFailed(pending.request, response.error)))
        else:
            self._ready.append((pending.branch, response, None))


def _single(effect: Ask | Label | All) -> Dialog[Any]:
    return (yield effect)
