"""The errors of the server: what clients get, in the shape that each dialect knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from santacoder.errors import (
    ContextOverflowError,
    InvalidRequestError,
    ModelClosedError,
    QueueFullError,
    SantaCoderError,
)

INVALID: Final = "invalid_request_error"

#: Endpoints of llama.cpp, whose errors have the HTTP status as their code.
NUMERIC: Final = frozenset({"/completion", "/completions", "/infill", "/health", "/props", "/slots"})


class ApiError(Exception):
    """An answer other than success.

    Attributes:
        status: the HTTP status.
        kind: the error's `type`.
        code: its `code` on endpoints other than llama.cpp's.
        message: one sentence.
        param: the field that it is about.
        headers: further headers of the answer.
        facts: further members of the error.
        closes: whether the connection ends with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.facts = dict(facts or {})
        self.closes = closes
        if closes:
            self.headers["connection"] = "close"

    def body(self, path: str) -> dict[str, Any]:
        """Return the JSON of the answer of an endpoint."""
        code = self.status if path in NUMERIC else self.code
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": code, **self.facts}}


def bad_request(message: str, param: str | None = None) -> ApiError:
    """Return the error for a value or a shape that is wrong."""
    return ApiError(400, message, param=param)


def unsupported(name: str) -> ApiError:
    """Return the error for a known field that would change the text and is not offered."""
    return ApiError(
        400, f"{name} is not offered by this server, so it must be left out", code="unsupported", param=name
    )


def unavailable(message: str, code: str, retry_after: int) -> ApiError:
    """Return the error of a server that cannot answer now."""
    return ApiError(
        503, message, kind="unavailable_error", code=code, headers={"retry-after": str(min(max(retry_after, 1), 60))}
    )


def internal() -> ApiError:
    """Return the error of a request that failed for a reason that is not the client's."""
    return ApiError(
        500, "an internal error ended this request; the server's log has it", kind="server_error", code="internal"
    )


def shutting_down() -> ApiError:
    """Return the error of a server that was told to stop."""
    return unavailable("the server is shutting down", "shutting_down", 5)


def of_library(error: SantaCoderError, param: str | None = None) -> ApiError:
    """Return what a client gets for an error of the library, whose message is a sentence made for people."""
    if isinstance(error, ContextOverflowError):
        return ApiError(
            400,
            str(error),
            kind="exceed_context_size_error",
            code="context_length_exceeded",
            param=param or "prompt",
            facts={"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context},
        )
    if isinstance(error, QueueFullError):
        return ApiError(429, str(error), kind="overloaded_error", code="queue_full", headers={"retry-after": "5"})
    if isinstance(error, InvalidRequestError):
        return bad_request(str(error), param)
    if isinstance(error, ModelClosedError):
        return shutting_down()
    return internal()
