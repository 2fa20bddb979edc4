"""A request to the chat service, and its answer."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.cache.steering import UNSTEERED, CacheControl
from deployments.chat.generation import Sink
from deployments.models.protocol import SPEECH, Endpoint

GENERATING: frozenset[Endpoint] = frozenset({"chat", "completion"})
"""What may be streamed, and answered from the cache: a text, which is dear to make."""

STREAMED = GENERATING | SPEECH
"""What may be streamed."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A well-formed request: `request` is its decoded JSON, `id` this service's own, unguessable.

    `endpoint` is what is asked of the model: a chat, where nothing else is said;
    `cache_control` is what is asked of the cache; `wait_s` is how long the request is to be held at most while its
    model has no replica, None for as long as the service holds any.
    """

    id: str
    tenant: str
    request: Mapping[str, Any]
    endpoint: Endpoint = "chat"
    cache_control: CacheControl = UNSTEERED
    wait_s: float | None = None
    file: bytes = b""
    """The recording, where the call is about one."""
    is_repeated: bool = False
    """Whether the replica that answered it was lost: what it has kept is not kept again."""

    @property
    def streams(self) -> bool:
        return self.endpoint in STREAMED and bool(self.request.get("stream"))

    @property
    def wants_usage(self) -> bool:
        return bool((self.request.get("stream_options") or {}).get("include_usage"))

    @property
    def wants_usage_throughout(self) -> bool:
        """Whether each event is to report the usage so far (vLLM's own option)."""
        return self.streams and bool((self.request.get("stream_options") or {}).get("continuous_usage_stats"))

    @property
    def reply_id(self) -> str:
        """The id of an answer that does not come from a model now."""
        return f"{'cmpl' if self.endpoint == 'completion' else 'chatcmpl'}-{self.id}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has begun: `body` if it is whole, else `frames` (server-sent events, `[DONE]` included).

    With `waits_for` it has not begun: it is held until its model has a replica, or takes long for its first token.
    Its first frame is then empty, and comes once it begins; what fails before is raised there.
    """

    body: bytes = b""
    frames: AsyncGenerator[bytes] | None = None
    waits_for: Callable[[], str | None] | None = None
    """Tells what to say to the client that waits, None while that is nothing in particular."""
    media_type: str = "application/json"
    """Of a whole answer."""
    divert: Callable[[Sink], None] | None = None
    """Once its frames have begun: lets those that follow go to a sink as they arrive, and only the end be yielded."""
