"""What web pages of other origins may do with the API, once the configuration names their origins."""

from collections.abc import Callable
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.config import CorsSettings

EXPOSED_HEADERS = (
    "age",
    "allow",
    "etag",
    "retry-after",
    "server-timing",
    "x-cache",
    "x-cache-key",
    "x-cache-reason",
    "x-chatllm-ignored",
    "x-chatllm-model",
    "x-chatllm-resumable",
    "x-chatllm-stream-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
    "x-should-retry",
)
"""What scripts may read of an answer besides its content type and length; a test compares them with what is sent."""

METHODS = ("DELETE", "GET", "HEAD", "POST")


def options(settings: CorsSettings) -> dict[str, Any]:
    """Return the arguments of starlette's CORSMiddleware.

    Any header may be sent: SDKs have many of their own, and none of them allows a page more than its key does.
    """
    return {
        "allow_origins": settings.allow_origins,
        "allow_methods": METHODS,
        "allow_headers": ("*",),
        "expose_headers": EXPOSED_HEADERS,
        "allow_private_network": True,
        "max_age": settings.max_age_s,
    }


class CrossOrigin:
    """Starlette's CORSMiddleware with the settings of the moment; none of it while no origin is allowed."""

    def __init__(self, app: ASGIApp, settings: Callable[[], CorsSettings]) -> None:
        self._app = app
        self._settings = settings
        self._made_for = CorsSettings()
        self._made = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings()
        if settings is not self._made_for:
            self._made_for = settings
            self._made = CORSMiddleware(self._app, **options(settings)) if settings.allow_origins else self._app
        await self._made(scope, receive, send)
