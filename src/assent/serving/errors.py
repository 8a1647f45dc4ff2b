"""Errors in the shape that OpenAI's clients read: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

BAD_REQUEST = "invalid_request_error"


class ApiError(Exception):
    """A request that is refused: HTTP status, message, the field at fault, and a code for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, kind: str = BAD_REQUEST
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.kind = status, message, param, code, kind

    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole reply."""
        headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(self.status)
        return JSONResponse(self.body(), self.status, headers)


def broken() -> ApiError:
    """The server's own fault. What happened stands in its log: it may hold what nobody outside should read."""
    return ApiError(500, "the server failed; its log says why", code="internal_error", kind="server_error")


def busy(waiting: int) -> ApiError:
    """The queue is full."""
    return ApiError(
        429,
        f"{waiting} answers are waiting already; ask again later",
        code="rate_limit_exceeded",
        kind="rate_limit_error",
    )


def closing() -> ApiError:
    """The server is going down."""
    return ApiError(503, "the server is shutting down", code="shutting_down", kind="server_error")
