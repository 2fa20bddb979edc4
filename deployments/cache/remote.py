"""The two sides of the call between an ingress replica and the cache deployment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deployments.config import CacheSettings


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up brought: values in the order of the keys, and why there are none, if Redis failed."""

    values: list[bytes | None]
    failure: str = ""


class RemoteCache(Protocol):
    """The other side: a `CacheLookup`, here or behind a handle. Any exception means that it did not answer."""

    async def lookup(self, keys: Sequence[str]) -> Found:
        """Return what is stored under the keys."""
        ...

    async def store(self, entries: Sequence[tuple[str, bytes, float]]) -> str:
        """Store each (key, value, seconds to live); return why that failed, or an empty string."""
        ...


class HandleCache:
    """The `CacheLookup` deployment behind its Serve handle, which stays in here."""

    def __init__(self, handle: Any) -> None:
        """`handle` is the DeploymentHandle that app.py binds."""
        self._handle = handle

    async def lookup(self, keys: Sequence[str]) -> Found:
        return await self._handle.lookup.remote(keys)

    async def store(self, entries: Sequence[tuple[str, bytes, float]]) -> str:
        return await self._handle.store.remote(entries)


def write_timeout_s(settings: CacheSettings) -> float:
    """Seconds that a write may take: nobody waits for it, so it may outlast many look-ups."""
    return 20 * settings.lookup_timeout_s
