"""Failures as they are shown to a person: a title, what to do next, and the request ID.

`client` and `completion` translate every foreign error into `ApiError`;
the pages know only this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ui.i18n import t


class ApiError(Exception):
    """A request to the service failed.

    `code` is the service's own error code, or one of the page's: `unreachable`,
    `cut_off` (the stream ended without an end), `too_slow`, `too_long`, `no_key`,
    `busy_page`, `unexpected`. `status` is 0 when no HTTP answer came.
    """

    def __init__(
        self, code: str, message: str = "", request_id: str = "", retry_after_s: float | None = None, status: int = 0
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.status = status

    @property
    def is_limit(self) -> bool:
        """Whether the key's rate limit was reached: the same request may succeed later."""
        return self.code == "rate_limit_exceeded" or (self.status == 429 and not self.code)


@dataclass(frozen=True, slots=True)
class Advice:
    """The text for an error; `can_retry` says whether sending the same request again may help."""

    title: str
    advice: str
    can_retry: bool = True

    @property
    def sentences(self) -> str:
        """Title and advice in one text."""
        return f"{self.title}. {self.advice}"


def explain(error: ApiError) -> Advice:
    """Return what to show for `error`; an unknown code shows the service's own message."""
    advice = ADVICE.get(error.code) or _BY_STATUS.get(error.status)
    if advice is None:
        return Advice(t("Something went wrong"), error.message or t("Please try again in a moment."))
    texts = [t(advice.advice)]
    if error.code in ("rate_limit_exceeded", "insufficient_quota") and error.message:
        texts.append(error.message)  # the service's own words: which limit it is, and how large
    if error.retry_after_s and (advice.can_retry or error.code == "insufficient_quota"):
        texts.append(t("Try again in {time}.", time=duration(error.retry_after_s)))
    return Advice(t(advice.title), " ".join(texts), advice.can_retry)


def duration(seconds: float) -> str:
    """Return a duration in words, rounded to a readable unit."""
    whole = max(1, round(seconds))
    if whole < 90:
        return t("1 second") if whole == 1 else t("{count} seconds", count=whole)
    if whole < 5400:
        return t("{count} minutes", count=round(whole / 60))
    return (
        t("{count} hours", count=round(whole / 3600)) if whole < 172_800 else t("{count} days", count=whole // 86_400)
    )


def from_body(status: int, headers: Mapping[str, str], body: Any) -> ApiError:
    """Parse an error body in OpenAI's format, with or without the outer object, and tolerate anything else."""
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner = fields.get("error", fields)
    detail = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    return ApiError(
        code=str(detail.get("code") or ""),
        message=str(detail.get("message") or "")[:500],
        request_id=str(detail.get("request_id") or headers.get("x-request-id") or "")[:100],
        retry_after_s=_seconds(headers.get("retry-after")),
        status=status,
    )


def _seconds(retry_after: str | None) -> float | None:
    try:
        seconds = float(retry_after or "")
    except ValueError:  # absent, or an HTTP date, which this service never sends
        return None
    return seconds if 0 < seconds < 3_000_000 else None


_STARTING = Advice("The service cannot be reached", "It may be starting or restarting. Your message has been kept.")
_UNAVAILABLE = Advice("The service is currently unavailable", "Please try again in a moment.")
_BUSY = Advice("The service is busy", "The service is currently at capacity.")

ADVICE = {
    "invalid_api_key": Advice(
        "Access denied",
        "The service rejected the page's API key. The operator should check the key that the page uses.",
    ),
    "no_key": Advice(
        "This page has no API key", "The operator should check the file that the page reads its key from."
    ),
    "model_not_found": Advice(
        "This model is not available", "Choose another model above, then send your message again.", False
    ),
    "context_length_exceeded": Advice(
        "The message is too long for the model",
        "Shorten the message or start a new chat. The conversation exceeds the model's context limit.",
        False,
    ),
    "rate_limit_exceeded": Advice("Rate limit reached", "This key has reached its rate limit."),
    "insufficient_quota": Advice(
        "This month's budget is used up",
        "The operator of the service can raise it. Otherwise it resets next month.",
        False,
    ),
    "permission_denied": Advice("Permission denied", "The page's API key lacks the required permission.", False),
    "model_loading": Advice("The model is still loading", "It will answer once it is ready."),
    "model_failed": Advice("The model could not be loaded", "See the service log for details.", False),
    "overloaded": _BUSY,
    "history_unavailable": Advice(
        "Your conversations are currently unavailable",
        "Nothing is lost. They will be back when the database responds again.",
    ),
    "unavailable": _UNAVAILABLE,
    "timeout": Advice("The model took too long", "It did not respond in time. Try a shorter question."),
    "too_slow": Advice("The model took too long", "It did not respond in time. Try a shorter question."),
    "cut_off": Advice(
        "The answer was cut off", "The connection to the service was lost. The text received so far has been kept."
    ),
    "too_long": Advice("The answer was stopped", "It is too long for this page to display.", False),
    "unreachable": _STARTING,
    "busy_page": Advice("Too many answers in progress", "Wait until one of them finishes."),
    "not_an_export": Advice(
        "This file is not an exported conversation", "Choose a JSON file that was exported from this page.", False
    ),
    "deleted": Advice("This chat was deleted", "Your next message starts a new chat.", False),
    "not_found": Advice("This conversation does not exist", "It may have been deleted. Start a new chat.", False),
}

_BY_STATUS = {
    401: ADVICE["invalid_api_key"],
    403: ADVICE["invalid_api_key"],
    404: ADVICE["not_found"],
    429: ADVICE["rate_limit_exceeded"],
    502: _UNAVAILABLE,
    503: _UNAVAILABLE,
    504: ADVICE["timeout"],
}
