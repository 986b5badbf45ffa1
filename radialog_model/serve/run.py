"""Runs the server until it is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from radialog_instruct.errors import UsageError

_STOPS = (signal.SIGINT, signal.SIGTERM)
_GRACE = 30
"""Seconds that open answers have once the server is told to stop."""


class _Uvicorn(uvicorn.Server):
    """Ends quietly on a signal: what was started around it is still to be cleaned up."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in _STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def stops_end_the_program() -> Iterator[None]:
    """Let SIGTERM unwind the program like Ctrl+C does, so that nothing it started is left behind."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_host(host: str, api_key: str | None) -> None:
    """Make sure that a server others can reach asks for a key.

    Raises:
        UsageError: If it does not.
    """
    if api_key or is_loopback(host):
        return
    mend = "set --api-key or RADIALOG_API_KEY, or stay on 127.0.0.1"
    raise UsageError("others could ask this server without a key", where=f"--host {host}", mend=mend)


def is_loopback(host: str) -> bool:
    """Whether a host is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def run_server(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; open answers have half a minute to end.

    Raises:
        UsageError: If the port cannot be bound.
    """
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE
    )
    server = _Uvicorn(config)
    try:
        server.run()
    except SystemExit as error:
        mend = "choose another --port, or end what listens there"
        raise UsageError("the address cannot be bound", where=f"{host}:{port}", mend=mend) from error
