"""Small facts that all processes of a Ray cluster share, in the key-value store of Ray's head.

Ray has no public interface to it (`ray.experimental.internal_kv`); Serve keeps its own state there in the same
way. An actor of our own would be one more process to start before a model may tell that it loads.
"""

from ray.experimental.internal_kv import (
    _internal_kv_get,  # pyright: ignore[reportPrivateUsage]
    _internal_kv_initialized,  # pyright: ignore[reportPrivateUsage]
    _internal_kv_put,  # pyright: ignore[reportPrivateUsage]
)

NAMESPACE = b"chatllm"
STOPS_AT = "stops_at"
"""Under this key: when the whole service stops (seconds since the epoch), once that has begun."""


def is_connected() -> bool:
    """Whether this process belongs to a Ray cluster."""
    return _internal_kv_initialized()


def put(key: str, value: bytes) -> None:
    """Store a value for all processes; a call to Ray's head, whose errors it raises."""
    _internal_kv_put(key.encode(), value, namespace=NAMESPACE)


def get(key: str) -> bytes | None:
    """Return a value, None where there is none or no Ray; a call to Ray's head, whose errors it raises."""
    if not is_connected():
        return None
    return _internal_kv_get(key.encode(), namespace=NAMESPACE) or None
