"""Whose API a request speaks: OpenAI's, or on some paths Anthropic's, which has its own shape of errors.

Anthropic's clients distinguish errors by status and `type` (Anthropic API reference, "Errors").
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from deployments.api.http.keep_alive import COMMENT
from deployments.errors import ChatLLMError, NotCached, NotOffered, Overloaded
from deployments.models.assembly import sse

OPENAI: Final[Mapping[str, Any]] = {"path": ""}
"""The scope of a request that speaks OpenAI's API."""

MESSAGES = "/v1/messages"
MODELS = "/v1/models"
VERSION_HEADER = b"anthropic-version"
"""Sent with every request of Anthropic's clients; OpenAI's do not."""

OVERLOADED_STATUS = 529

TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED_STATUS: "overloaded_error",
}
"""Anthropic's types of errors by status; another one below 500 is an `invalid_request_error`, above an `api_error`."""


def is_anthropic(scope: Mapping[str, Any]) -> bool:
    """Tell requests of Anthropic's API by their path, and where both have that, by the header of the version."""
    path: str = scope["path"]
    if _is_at(path, MESSAGES):
        return True
    return _is_at(path, MODELS) and any(name == VERSION_HEADER for name, _ in scope.get("headers", ()))


def status_of(error: ChatLLMError | type[ChatLLMError], scope: Mapping[str, Any]) -> int:
    """Return the status of the response that reports `error`."""
    kind = error if isinstance(error, type) else type(error)
    return OVERLOADED_STATUS if issubclass(kind, Overloaded) and is_anthropic(scope) else kind.status


def error_body(error: ChatLLMError, request_id: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the response that reports `error`."""
    if not is_anthropic(scope):
        return error.body(request_id)
    detail = {"type": _type(error, status_of(error, scope)), "message": error.message}
    return {"type": "error", "error": detail, "request_id": request_id}


def error_event(error: ChatLLMError, request_id: str, scope: Mapping[str, Any]) -> bytes:
    """Return the last event of a stream that fails."""
    body = error_body(error, request_id, scope)
    return b"event: error\ndata: " + orjson.dumps(body) + b"\n\n" if is_anthropic(scope) else sse(body)


def ping_event(scope: Mapping[str, Any]) -> bytes:
    """Return what a stream sends where it would be silent."""
    return b'event: ping\ndata: {"type":"ping"}\n\n' if is_anthropic(scope) else COMMENT


def _is_at(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _type(error: ChatLLMError, status: int) -> str:
    if isinstance(error, NotCached | NotOffered):
        return "invalid_request_error"
    return TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
