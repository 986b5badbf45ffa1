"""The dialog runner: many dialogs in flight, full batches to the adapter, answers in any order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from radialog_bench.adapters.base import Adapter, rendered_messages
from radialog_bench.chat import Message, Request, Response
from radialog_bench.dialog import All, Ask, AskFailed, Dialog, Label
from radialog_bench.responses import ResponseLog, request_key
from radialog_bench.watchdog import AdapterHungError, watched
from radialog_instruct.errors import ModelError
from radialog_instruct.findings import Labels

LabelMany = Callable[[Sequence[str]], list[Labels]]


@dataclass(frozen=True)
class RunnerSettings:
    """How the runner works.

    Attributes:
        batch_size: Requests handed to the adapter at once.
        window: Dialogs in flight; at least a few batches keep batches full.
        timeout: Seconds the adapter may be silent before the run ends; None waits for ever.
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
        self._texts: list[tuple[_Branch, str]] = []
        self._labels: dict[str, Labels] = {}
        self._done: list[tuple[int, Any]] = []

    def run(self, dialogs: Iterable[Dialog[Any]]) -> Iterator[tuple[int, Any]]:
        """Run dialogs and yield (index, result) as they end, in any order.

        A dialog that lets ``AskFailed`` escape has that exception as its result.

        Raises:
            ModelError: If the adapter breaks its contract.
        """
        waiting = enumerate(dialogs)
        in_flight, finished, exhausted = 0, 0, False
        while True:
            while not exhausted and in_flight < self._settings.window:
                following = next(waiting, None)
                if following is None:
                    exhausted = True
                    break
                in_flight += 1
                self._ready.append((_Branch(following[1], None, following[0]), None, None))
            while self._ready:
                self._step(*self._ready.popleft())
            for result in self._done:
                in_flight -= 1
                finished += 1
                yield result
            self._done.clear()
            self._progress(finished)
            if not exhausted and in_flight < self._settings.window:
                continue
            if self._texts:
                self._label()
            elif self._asks:
                self._ask()
            elif exhausted and in_flight == 0:
                return

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
        new = list(dict.fromkeys(text for _, text in pending if text not in self._labels))
        self._labels.update(zip(new, self._label_many(new), strict=True))
        self._ready.extend((branch, self._labels[text], None) for branch, text in pending)

    def _ask(self) -> None:
        """Send one batch; requests that the log can answer take no place in it."""
        batch: dict[str, tuple[_Branch, Request, str, tuple[Message, ...]]] = {}
        while self._asks and len(batch) < self._settings.batch_size:
            branch, request = self._asks.popleft()
            if request.id in batch:
                raise ModelError("two requests have one id", where=request.id, mend="this is a fault of the evaluation")
            rendered = rendered_messages(self._adapter, request)
            key = request_key(self._fingerprint, request, rendered)
            logged = self._log.get(key)
            if logged is not None:
                self.stats.from_log += 1
                self._ready.append((branch, logged, None))
            else:
                batch[request.id] = (branch, request, key, rendered)
        if not batch:
            return
        self.stats.asked += len(batch)
        self.stats.batches[len(batch)] += 1
        requests = [request for _, request, _, _ in batch.values()]
        for response in checked_responses(self._adapter, requests, self._settings.timeout):
            branch, request, key, rendered = batch.pop(response.id)
            self._log.add(key, request, rendered, response)
            if response.error is not None:
                self.stats.failures[response.error.kind] += 1
                self._ready.append((branch, None, AskFailed(request, response.error)))
            else:
                self._ready.append((branch, response, None))
        self._log.sync()


def checked_responses(adapter: Adapter, requests: list[Request], timeout: float | None = None) -> Iterator[Response]:
    """Yield an adapter's responses to a batch, held to the contract.

    An exception of the adapter becomes a failure of every request of the batch that has no answer yet.

    Raises:
        AdapterHungError: If the adapter is silent for ``timeout`` seconds; what was left open was yielded as failures.
        ModelError: If a response has the wrong type, an unknown or repeated id, both text and error or neither, or if
            a request stays without response.
    """
    open_ids = {request.id for request in requests}

    def broken(what: str) -> ModelError:
        return ModelError(f"the adapter {what}", where=adapter.name, mend="see radialog_bench.adapters.base.Adapter")

    def answers() -> Iterable[Response]:
        return adapter.generate(requests)

    try:
        for response in answers() if timeout is None else watched(answers, timeout):
            if not isinstance(response, Response):
                raise broken(f"returned {type(response).__name__} instead of Response")
            if response.id not in open_ids:
                raise broken(f"answered an unknown or already answered request {response.id!r}")
            if (response.text is None) == (response.error is None) or not isinstance(response.text, str | None):
                raise broken(f"gave {response.id!r} neither a text nor a failure, or both")
            open_ids.discard(response.id)
            yield _storable(response)
    except ModelError:
        raise
    except AdapterHungError as error:
        yield from (Response.failure(name, "timeout", error.what) for name in sorted(open_ids))
        raise
    except Exception as error:  # noqa: BLE001 - third-party code may raise anything; it is counted, never lost
        for request in requests:
            if request.id in open_ids:
                yield Response.failure(request.id, "adapter", f"{type(error).__name__}: {error}")
        return
    if open_ids:
        raise broken(f"left {len(open_ids)} of {len(requests)} requests without a response, {min(open_ids)!r} first")


def _storable(response: Response) -> Response:
    """Return a response that can be written as UTF-8: half of a surrogate pair is no text."""
    try:
        (response.text or "").encode()
    except UnicodeEncodeError as error:
        return Response.failure(response.id, "contract", f"the text is not valid Unicode ({error})")
    return response


def _single(effect: Ask | Label | All) -> Dialog[Any]:
    return (yield effect)
