"""Several copies of one model, each in a Ray actor: several GPUs, or several nodes."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from radialog_bench.adapters.base import Adapter, BenchContext
from radialog_bench.adapters.registry import load_adapter
from radialog_bench.adapters.streaming import Take
from radialog_bench.chat import FailureKind, Message, Request, Response
from radialog_instruct.errors import ModelError, RadialogError, UsageError, missing_extra

_TRIES = 2
"""Replicas a request may lose before it fails."""
_LOOK = 0.5
"""Seconds between two looks at the clock while no replica answers."""


class ReplicatedAdapter(Adapter):
    """Spreads requests over replicas and passes their answers on as they come.

    A replica that dies, or is silent for longer than the run allows, is replaced; what it left open is asked again of
    another one, at most twice. Image files must lie at the same path on all nodes.

    Args:
        spec: The model, as ``--model`` takes it.
        arguments: Its arguments.
        replicas: Copies.
        batch_size: Requests a copy takes at a time.
        num_gpus: GPUs of a copy; by default one where the cluster has any, else none.
        num_cpus: CPU cores of a copy.
        address: The cluster; None joins the one of ``RAY_ADDRESS``, or starts one on this machine.

    Raises:
        UsageError: If ray is not installed, or there is to be no replica.
        ModelError: If the cluster cannot be joined, or a replica cannot be built.
    """

    def __init__(
        self,
        spec: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        replicas: int = 2,
        batch_size: int = 8,
        num_gpus: float | None = None,
        num_cpus: float = 1.0,
        address: str | None = None,
    ) -> None:
        if replicas < 1:
            raise UsageError("at least one replica", where="--replicas", mend="for example --replicas 2")
        self._started = _join(address, replicas, num_cpus)
        import ray

        if num_gpus is None:
            num_gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        self._batch_size = batch_size
        self._timeout: float | None = None
        self._spec, self._arguments = spec, dict(arguments or {})
        self._context: BenchContext | None = None
        actor = ray.remote(num_gpus=num_gpus, num_cpus=num_cpus)(_Replica)
        self._actor: Any = actor
        self._replicas = [self._new() for _ in range(replicas)]
        try:
            about: About = self._told([replica.actor.about.remote() for replica in self._replicas])[0]
        except BaseException:
            self.close()
            raise
        self.name, self._fingerprint, self._renders = about.name, about.fingerprint, about.renders
        self.needs_images, self.limits_to_images = about.needs_images, about.limits_to_images
        self.notices, self.free_arguments = about.notices, about.free_arguments

    def fingerprint(self) -> str:
        """Return the model's own: how many copies answer is no part of what they say."""
        return self._fingerprint

    def prepare(self, context: BenchContext) -> None:
        """Let every replica take what a baseline may know."""
        self._context = context
        self._told([replica.actor.prepare.remote(context) for replica in self._replicas])

    def render(self, request: Request) -> tuple[Message, ...]:
        """Return the messages as the model renders them."""
        if not self._renders:
            return request.messages
        rendered: tuple[Message, ...] = self._told([self._replicas[0].actor.render.remote(request)])[0]
        return rendered

    def limit_silence(self, seconds: float) -> bool:
        """Replace copies that are silent for longer."""
        self._timeout = seconds
        return True

    def generate(self, requests: list[Request]) -> Iterable[Response]:
        """Keep every replica busy with a batch.

        Raises:
            ModelError: If an adapter breaks its contract, or a replica cannot be replaced.
        """
        left = deque(requests)
        size = min(self._batch_size, max(1, -(-len(requests) // len(self._replicas))))
        for response in self._served(lambda: left.popleft() if left else None, size):
            if response is not None:
                yield response

    def stream(self, take: Take) -> Iterator[Response | None]:
        """Give each copy its next batch as soon as it is free.

        Raises:
            ModelError: As for ``generate``.
        """
        yield from self._served(take, self._batch_size)

    def _served(self, take: Take, size: int) -> Iterator[Response | None]:
        import ray

        waiting: deque[_Batch] = deque()
        while True:
            for replica in self._replicas:
                if replica.batch is None and (batch := waiting.popleft() if waiting else _next_batch(take, size)):
                    replica.start(batch)
            busy = {replica.stream: replica for replica in self._replicas if replica.batch}
            if not busy:
                return
            ready, _ = ray.wait(list(busy), num_returns=1, timeout=_LOOK, fetch_local=False)
            if not ready:
                yield None
            for stream in ready:
                yield from self._drawn(busy[stream], waiting)
            for replica in busy.values():
                silent = replica.batch is not None and time.monotonic() - replica.heard
                if self._timeout is not None and silent and silent > self._timeout:
                    what = f"the replica gave no answer within {self._timeout:g} s"
                    yield from self._replaced(replica, waiting, "timeout", what)

    def close(self) -> None:
        """End the replicas, and the cluster where this process started it."""
        import ray

        for replica in self.__dict__.get("_replicas", ()):
            with contextlib.suppress(Exception):  # a dead actor cannot be killed again
                ray.kill(replica.actor)
        self._replicas = []
        if self._started and ray.is_initialized():
            ray.shutdown()

    def _new(self) -> _Seat:
        return _Seat(self._actor.remote(self._spec, self._arguments))

    def _drawn(self, replica: _Seat, waiting: deque[_Batch]) -> Iterator[Response]:
        """Take one answer of a replica, or the end of its batch."""
        import ray

        assert replica.batch is not None
        try:
            response = ray.get(next(replica.stream))
        except StopIteration:
            left = replica.batch.left
            replica.batch = None
            if left:
                what = f"left {len(left)} requests without a response, {min(left)!r} first"
                raise ModelError(f"the adapter {what}", where=self.name, mend="see radialog_bench.testing") from None
            return
        except ray.exceptions.RayActorError as error:
            yield from self._replaced(replica, waiting, "adapter", f"the replica died: {_brief(error)}")
            return
        except ray.exceptions.RayTaskError as error:
            cause = _cause(error)
            if isinstance(cause, RadialogError):
                raise cause from error
            left, replica.batch = replica.batch.left, None
            for name in left:
                yield Response.failure(name, "adapter", f"{type(cause).__name__}: {cause}")
            return
        replica.heard = time.monotonic()
        if isinstance(response, Response):
            replica.batch.left.pop(response.id, None)
        yield response

    def _replaced(self, replica: _Seat, waiting: deque[_Batch], kind: FailureKind, message: str) -> Iterator[Response]:
        """Put a new replica in the place of a lost one, and its open requests back into the queue, one by one."""
        import ray

        assert replica.batch is not None
        lost, replica.batch = replica.batch, None
        with contextlib.suppress(Exception):  # it may be dead already
            ray.kill(replica.actor)
        if lost.lost + 1 > _TRIES:
            for name in lost.left:
                yield Response.failure(name, kind, message)
        else:
            # Alone, so that a request that kills a replica takes no other along.
            waiting.extend(_Batch([request], lost.lost + 1) for request in lost.left.values())
        replica.actor = self._new().actor
        told = [replica.actor.about.remote()]
        if self._context is not None:
            told.append(replica.actor.prepare.remote(self._context))
        self._told(told)

    def _told(self, references: list[Any]) -> list[Any]:
        """Wait for replicas; an error of the model's constructor is that error here.

        Raises:
            ModelError: If a replica cannot be built.
        """
        import ray

        try:
            results: list[Any] = ray.get(references)
        except ray.exceptions.RayError as error:
            cause = _cause(error)
            if isinstance(cause, RadialogError):
                raise cause from error
            raise ModelError(f"a replica fails: {_brief(error)}", where=self._spec, mend="try one copy") from error
        return results


@dataclass(frozen=True)
class About:
    """What a replica says of its adapter; the names are the adapter's."""

    name: str
    fingerprint: str
    renders: bool
    needs_images: bool
    limits_to_images: bool
    notices: tuple[str, ...]
    free_arguments: frozenset[str]


class _Replica:
    """The actor: one adapter."""

    def __init__(self, spec: str, arguments: dict[str, Any]) -> None:
        self._failure: RadialogError | None = None
        try:
            self._adapter = load_adapter(spec, arguments)
        except RadialogError as error:
            # Told when asked: Ray would show its own error for an actor that cannot be built.
            self._failure = error

    def about(self) -> About:
        if self._failure is not None:
            raise self._failure
        adapter = self._adapter
        return About(
            name=adapter.name,
            fingerprint=adapter.fingerprint(),
            renders=type(adapter).render is not Adapter.render,
            needs_images=adapter.needs_images,
            limits_to_images=adapter.limits_to_images,
            notices=tuple(adapter.notices),
            free_arguments=adapter.free_arguments,
        )

    def prepare(self, context: BenchContext) -> None:
        self._adapter.prepare(context)

    def render(self, request: Request) -> tuple[Message, ...]:
        return tuple(self._adapter.render(request))

    def generate(self, requests: list[Request]) -> Iterator[Response]:
        yield from self._adapter.generate(requests)


class _Batch:
    """Requests on their way to a replica.

    Attributes:
        left: Those without an answer, by id.
        lost: Replicas they were lost with.
    """

    def __init__(self, requests: list[Request], lost: int = 0) -> None:
        self.left = {request.id: request for request in requests}
        self.lost = lost


def _next_batch(take: Take, size: int) -> _Batch | None:
    requests = list(islice(iter(take, None), size))
    return _Batch(requests) if requests else None


@dataclass(eq=False)
class _Seat:
    """A replica's place and what is under way there."""

    actor: Any
    batch: _Batch | None = None
    stream: Any = None
    heard: float = field(default_factory=time.monotonic)

    def start(self, batch: _Batch) -> None:
        self.batch, self.heard = batch, time.monotonic()
        self.stream = self.actor.generate.options(num_returns="streaming").remote(list(batch.left.values()))


def _join(address: str | None, replicas: int, num_cpus: float) -> bool:
    """Join or start a cluster; tell whether it was started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported from a machine with patients' data
    try:
        import ray
    except ImportError as error:
        raise missing_extra("ray", "ray") from error
    if ray.is_initialized():
        return False
    local = address is None and "RAY_ADDRESS" not in os.environ
    # Copies that wait for an accelerator share cores: more are promised than a small machine may have.
    cores = (
        {"num_cpus": max(os.cpu_count() or 1, int(replicas * num_cpus))} if local else {"address": address or "auto"}
    )
    try:
        ray.init(include_dashboard=False, log_to_driver=False, **cores)
    except (ConnectionError, RuntimeError, OSError) as error:
        raise ModelError(f"no cluster: {error}", where="--replicas", mend="start one with ray start") from error
    return True


def _cause(error: BaseException) -> BaseException:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[-300:]
