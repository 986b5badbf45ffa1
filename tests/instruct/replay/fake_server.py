"""A chat completion server of the tests: it counts what it is asked and misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "test-model"


@dataclass
class Script:
    """What the server does.

    Attributes:
        answer: Text for a request's messages.
        faults: Called with (request number, times this request was asked before); returns a status, "garbage", "half",
            "length", "filtered" or None for a good answer.
        delay: Seconds before each answer.
        asked: How often each request (its messages and sampling) was asked.
        answered: How often each was answered well.
    """

    answer: Callable[[list[dict[str, str]]], str] = lambda messages: "No. The report describes nothing of the kind."
    faults: Callable[[int, int], Any] = lambda number, before: None
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = (MODEL,)
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """Serve on a free port and yield the address up to ``/v1``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": name} for name in script.models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            identity = json.dumps(body, sort_keys=True)
            with script.lock:
                number, before = sum(script.asked.values()), script.asked[identity]
                script.asked[identity] += 1
                script.bodies.append(body)
                script.running += 1
                script.most_running = max(script.most_running, script.running)
            try:
                time.sleep(script.delay)
                self._answer(body, identity, script.faults(number, before))
            finally:
                with script.lock:
                    script.running -= 1

        def _answer(self, body: dict[str, Any], identity: str, fault: Any) -> None:
            if isinstance(fault, int):
                self._send(fault, {"error": {"message": f"scripted {fault}"}})
                return
            if fault == "garbage":
                self._raw(200, b"<html>proxy error</html>")
                return
            text = script.answer(body["messages"])
            reason = {"length": "length", "filtered": "content_filter"}.get(fault, "stop")
            message = {"content": None if fault == "filtered" else text}
            reply = {
                "choices": [{"message": message, "finish_reason": reason}],
                "usage": {"prompt_tokens": 10, "completion_tokens": len(text.split())},
            }
            if fault == "half":
                data = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            with script.lock:
                script.answered[identity] += 1
            self._send(200, reply)

        def _send(self, status: int, value: object) -> None:
            self._raw(status, json.dumps(value).encode())

        def _raw(self, status: int, data: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                for name, header in script.headers.items():
                    self.send_header(name, header)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # the client was killed

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
