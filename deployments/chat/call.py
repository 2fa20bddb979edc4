"""What is asked of the chat service, and the answer that it gives."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.cache.steering import UNSTEERED, CacheControl
from deployments.models.protocol import Endpoint

GENERATING: frozenset[Endpoint] = frozenset({"chat", "completion"})
"""What may be streamed, and answered from the cache: a text, which is dear to make."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A well-formed request: `request` is its decoded JSON, `id` this service's own, unguessable.

    `endpoint` is what is asked of the model: a chat, where nothing else is said;
    `cache_control` is what is asked of the cache.
    """

    id: str
    tenant: str
    request: Mapping[str, Any]
    endpoint: Endpoint = "chat"
    cache_control: CacheControl = UNSTEERED

    @property
    def streams(self) -> bool:
        return self.endpoint in GENERATING and bool(self.request.get("stream"))

    @property
    def wants_usage(self) -> bool:
        return bool((self.request.get("stream_options") or {}).get("include_usage"))

    @property
    def wants_usage_throughout(self) -> bool:
        """Whether each event is to tell the usage so far (vLLM's own option)."""
        return self.streams and bool((self.request.get("stream_options") or {}).get("continuous_usage_stats"))

    @property
    def reply_id(self) -> str:
        """The id of an answer that does not come from a model now."""
        return f"{'cmpl' if self.endpoint == 'completion' else 'chatcmpl'}-{self.id}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has begun: `body` if it is whole, else `frames` (server-sent events, `[DONE]` included)."""

    body: bytes = b""
    frames: AsyncGenerator[bytes] | None = None
