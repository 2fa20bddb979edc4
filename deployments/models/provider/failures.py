"""The errors of the providers' packages as this service's own.

Each package has its own tree; all carry an HTTP status somewhere, and the response's
headers where there was one. What a provider says of its key or its account goes to the
log; to the client goes only what it says of the request.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from langchain_core.exceptions import ContextOverflowError

from deployments.errors import (
    BadRequest,
    ChatLLMError,
    ContextTooLong,
    Overloaded,
    ProviderBusy,
    ProviderFailed,
    ProviderRefused,
    Timeout,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
MAX_RETRY_AFTER_S = 3600.0
MAX_CHARACTERS = 400
OF_THE_REQUEST = frozenset({400, 413, 422})
OF_THE_SERVICE = frozenset({401, 402, 403, 404, 405})
"""Key, account, permission, or a model or an address that is not there: nothing that a client can change."""
OVERLOADED = frozenset({503, 529})
LASTING_CODES = frozenset({"insufficient_quota", "billing_not_active", "billing_hard_limit_reached"})
"""OpenAI answers 429 with these where the account has no credit: waiting does not help."""
TOO_LONG = ("context_length_exceeded", "maximum context length", "prompt is too long", "context window")


def translated(error: Exception, model: str) -> ChatLLMError:
    """Return what a provider's error means for the request, and log what its operator must know."""
    if isinstance(error, ChatLLMError):
        return error
    causes = [*_causes(error)]
    status = next((found for cause in causes if (found := _status(cause)) is not None), None)
    body = next((found for cause in causes if (found := _body(cause))), {})
    message, code = _sentence(body), str(body.get("code") or "")
    if _is_too_long(causes, status, f"{code} {message}"):
        return ContextTooLong(message, "messages")
    wait_s = next((wait_s for cause in causes if (wait_s := _retry_after(cause)) is not None), RETRY_AFTER_S)
    if status is None:
        return _without_status(causes, model)
    if status in OF_THE_REQUEST:
        param = body.get("param")
        return BadRequest(message or "The model's provider cannot process this request.", _text(param) or None)
    logger.warning("the provider of a model refused", extra={"model": model, "status": status, "code": code})
    if status in OF_THE_SERVICE or code in LASTING_CODES:
        return ProviderRefused()
    if status == 429:
        return ProviderBusy("", None, wait_s)
    if status in OVERLOADED:
        return Overloaded("The model's provider is overloaded.", None, wait_s)
    return Timeout("The model's provider did not answer in time.", None, wait_s) if status in (408, 504) else _failed()


def _without_status(causes: list[BaseException], model: str) -> ChatLLMError:
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    logger.warning("the provider of a model failed", extra={"model": model, "error": type(causes[0]).__name__})
    if any("Timeout" in name for name in names):
        return Timeout("The model's provider did not answer in time.", None, RETRY_AFTER_S)
    if any("Connect" in name or name in ("TransportError", "NetworkError") for name in names):
        return ProviderFailed("The model's provider cannot be reached.", None, RETRY_AFTER_S)
    return _failed()


def _failed() -> ProviderFailed:
    return ProviderFailed("", None, RETRY_AFTER_S)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was made of, the outermost first."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for value in (getattr(error, "status_code", None), getattr(response, "status_code", None), _code(error)):
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _code(error: BaseException) -> Any:
    """Return the `code` that Google's errors have the status in."""
    return getattr(error, "code", None)


def _body(error: BaseException) -> Mapping[str, Any]:
    """Return the error object that a provider sent: OpenAI's packages give its inside, Anthropic's the whole."""
    for name in ("body", "details"):
        value = getattr(error, name, None)
        if isinstance(value, dict):
            outer = cast("dict[str, Any]", value)
            inner = outer.get("error")
            return cast("dict[str, Any]", inner) if isinstance(inner, dict) else outer
    text = getattr(error, "error", None)  # Ollama's
    return {"message": text} if isinstance(text, str) else {}


def _sentence(body: Mapping[str, Any]) -> str:
    """Return the provider's own message if it is one line of a moderate length."""
    message = _text(body.get("message"))
    return message if len(message) <= MAX_CHARACTERS and message.isprintable() else ""


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _is_too_long(causes: list[BaseException], status: int | None, message_text: str) -> bool:
    if any(isinstance(cause, ContextOverflowError) for cause in causes):
        return True
    return status in OF_THE_REQUEST and any(words in message_text.lower() for words in TOO_LONG)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that a response asks to wait: a number, or a date (RFC 9110, 10.2.3), an hour at most."""
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get("retry-after") if isinstance(headers, Mapping) or hasattr(headers, "get") else None
    if not isinstance(value, str):
        return None
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(wait_s) else None
