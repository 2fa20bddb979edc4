"""What web pages of other origins may do with the API, once the configuration names their origins."""

from typing import Any

from deployments.config import CorsSettings

EXPOSED_HEADERS = (
    "age",
    "allow",
    "retry-after",
    "server-timing",
    "x-cache",
    "x-cache-key",
    "x-cache-reason",
    "x-chatllm-ignored",
    "x-chatllm-model",
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

    Any header may be sent: SDKs have many of their own, and none of them gives a page more than its key does.
    """
    return {
        "allow_origins": settings.allow_origins,
        "allow_methods": METHODS,
        "allow_headers": ("*",),
        "expose_headers": EXPOSED_HEADERS,
        "allow_private_network": True,
        "max_age": settings.max_age_s,
    }
