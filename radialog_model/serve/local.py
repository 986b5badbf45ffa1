"""transformers in this process: one thread decodes, requests enter its running batch as they come."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

from radialog_model.chat import Pieces
from radialog_model.decoding import Job, Row
from radialog_model.generate import Answerer, Prompt, Sampling
from radialog_model.serve.backend import Piece
from radialog_model.serve.errors import ApiError
from radialog_model.serve.images import SentImage


@dataclass(eq=False)
class _Ticket:
    """A request on its way through the thread; pieces come back through the event loop."""

    prompt: Prompt
    image: SentImage
    sampling: Sampling
    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[Piece | ApiError] = field(default_factory=asyncio.Queue)
    given_up: bool = False

    def tell(self, what: Piece | ApiError) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any longer
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, what)


class Local:
    """A running batch behind the server.

    Args:
        answerer: The model.
        slots: Most answers under way.
        waiting: Most requests that wait for one; further ones are refused.
    """

    def __init__(self, answerer: Answerer, *, slots: int = 8, waiting: int = 256) -> None:
        self._answerer, self._slots = answerer, slots
        self._decoder = answerer.new_decoder(slots, answerer.context)
        self._waiting: queue.Queue[_Ticket | None] = queue.Queue(waiting)
        self._rows: dict[Row, tuple[_Ticket, Pieces]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    @property
    def context(self) -> int:
        """Tokens of the model's context."""
        return self._answerer.context

    async def stream(self, prompt: Prompt, image: SentImage, sampling: Sampling) -> AsyncIterator[Piece]:
        """Answer; what nobody waits for any longer leaves the batch.

        Raises:
            ApiError: If too many wait already, or the model failed.
        """
        ticket = _Ticket(prompt, image, sampling, asyncio.get_running_loop())
        try:
            self._waiting.put_nowait(ticket)
        except queue.Full:
            raise ApiError("too many requests are waiting: try again later", status=429) from None
        try:
            while True:
                piece = await ticket.pieces.get()
                if isinstance(piece, ApiError):
                    raise piece
                yield piece
                if piece.finish is not None:
                    return
        finally:
            ticket.given_up = True

    def healthy(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive() and not self._closed

    async def close(self) -> None:
        """End the thread; what is still open fails."""
        self._closed = True
        with suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes a thread that waits
        await asyncio.to_thread(self._thread.join, 30)

    def _run(self) -> None:
        while not self._closed:
            try:
                self._admit()
                ended = self._decoder.step()
                self._report(ended)
            except Exception as error:  # noqa: BLE001 - one bad batch must not end the server
                print(f"radialog-model: a batch failed ({type(error).__name__}: {error})", file=sys.stderr)
                self._fail("the model failed on this batch")
        self._fail("the server is shutting down")

    def _admit(self) -> None:
        """Take waiting requests into free slots; with nothing under way, wait for one."""
        tickets: list[_Ticket] = []
        while len(tickets) < self._decoder.free:
            try:
                ticket = self._waiting.get(block=not self._rows and not tickets)
            except queue.Empty:
                break
            if ticket is None:
                break
            if not ticket.given_up:
                tickets.append(ticket)
        if not tickets:
            return
        try:
            jobs = self._jobs(tickets)
            ended = self._decoder.admit(list(jobs))
        except Exception:
            for ticket in tickets:
                ticket.tell(ApiError("the model failed on this request", status=500))
            raise
        for row in (*self._decoder.running, *ended):
            if row not in self._rows:
                self._rows[row] = (jobs[row.job], Pieces(self._answerer, row))
        self._report(ended)

    def _jobs(self, tickets: list[_Ticket]) -> dict[Job, _Ticket]:
        images = {ticket.image.key: ticket.image.pixels for ticket in tickets}
        features = self._answerer.features.get(images)
        return {self._answerer.job(t.prompt, t.sampling, features[t.image.key], t.image.key): t for t in tickets}

    def _report(self, ended: list[Row]) -> None:
        for row in ended:
            ticket, pieces = self._rows.pop(row)
            if row.done is not None:
                answer = self._answerer.finished(ticket.prompt, row)
                finish = "stop" if answer.finish == "stop" else "length"
                ticket.tell(Piece(pieces.more(), finish, answer.new_tokens, answer.prompt_tokens))
        for row, (ticket, pieces) in self._rows.items():
            row.cancelled = ticket.given_up
            if text := pieces.more():
                ticket.tell(Piece(text))

    def _fail(self, why: str) -> None:
        self._decoder.cancel()
        for ticket, _ in self._rows.values():
            ticket.tell(ApiError(why, status=500))
        self._rows.clear()
        while self._closed and not self._waiting.empty():
            waiting = self._waiting.get()
            if waiting is not None:
                waiting.tell(ApiError(why, status=503))
