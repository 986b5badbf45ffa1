"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from starlette.responses import JSONResponse


class ApiError(Exception):
    """A request that is refused.

    Args:
        message: What is wrong and how to mend it.
        status: HTTP status.
        param: The field concerned.
        code: A word for programs.
    """

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, object]:
        """Return OpenAI's error object."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the response that says so."""
        return JSONResponse(self.body(), status_code=self.status)
