"""Any OpenAI-compatible server as the replay's engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from radialog_instruct.chat_server import Call, ChatServer, Completion, ServerSettings
from radialog_instruct.replay.backends.base import Result
from radialog_instruct.replay.request import ReplayRequest, Sampling


class OpenAIBackend:
    """Asks a server.

    Args:
        settings: How.

    Raises:
        UsageError: If httpx2 is not installed, or the key holds characters a header cannot carry.
        ModelError: If the server does not answer.
    """

    name = "openai"

    def __init__(self, settings: ServerSettings) -> None:
        self._model = settings.model
        self._server = ChatServer(settings)

    def version(self) -> str:
        """Return what the server says of itself, or "unknown"."""
        return self._server.version

    def versions(self) -> dict[str, str]:
        """Return the version of the client library."""
        import httpx2

        return {"httpx2": httpx2.__version__}

    def recovered(self) -> Iterator[tuple[Sampling, Result]]:
        """Yield nothing: what a server has answered was yielded at once."""
        return iter(())

    def generate(self, requests: Iterable[ReplayRequest]) -> Iterator[Result | None]:
        """Keep the server busy with ``concurrency`` requests.

        Raises:
            ModelError: If the server went away or refuses every request.
        """
        for done in self._server.ask(Call(request.key, request.body(self._model)) for request in requests):
            yield _result(done) if done is not None else None

    def close(self) -> None:
        """Cancel what is running and close all connections."""
        self._server.close()


def _result(done: Completion[bytes]) -> Result:
    return Result(done.key, done.text, done.finish_reason, done.prompt_tokens, done.completion_tokens, done.failure)
