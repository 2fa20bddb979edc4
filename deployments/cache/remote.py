"""The two sides of the call between an ingress replica and the cache deployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deployments.cache.claims import Claim
from deployments.cache.purging import Purge
from deployments.cache.store import StoreFigures
from deployments.config import CacheSettings
from deployments.infra.ray.handles import answers_in_time, carrying
from deployments.infra.transport.server import Address


@dataclass(frozen=True, slots=True)
class LookupReply:
    """What a look-up brought: values in the order of the keys, and why there are none, if Redis failed.

    `version` is another one after every purge.
    `owners` tell, in the same order, who generates what is missing now; empty where nobody claimed it or can tell.
    """

    values: list[bytes | None]
    failure: str = ""
    owners: list[bytes] = field(default_factory=list[bytes])
    version: str = ""


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """A request as a LangChain cache is asked for it: its key, its endpoint, and the JSON that a model is asked.

    `is_trimmed` says that the oldest messages may be left out. `version` is that of all purges when the
    answer which goes with it began to be generated, None where it does not matter.
    """

    key: str
    endpoint: str
    body: bytes
    is_trimmed: bool = False
    version: str | None = None


@dataclass(frozen=True, slots=True)
class SimilarReply:
    """What a LangChain cache found: an encoded entry, of another question if `is_similar`; else why it failed."""

    value: bytes | None
    failure: str = ""
    is_similar: bool = False


@dataclass(frozen=True, slots=True)
class LookupFigures:
    """What one replica of the cache deployment has seen; `store` is None where the store did not answer."""

    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    reading_is_stopped: bool = False
    writing_is_stopped: bool = False
    langchain_is_stopped: bool = False
    store: StoreFigures | None = None


class RemoteCache(Protocol):
    """The other side: a `CacheLookup`, here or behind a handle. Any exception means that it did not answer."""

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> LookupReply:
        """Return what is stored under the keys; what is not is claimed, where there is a claim for it.

        A claim is held under its name since the version that is returned (`Claim.since`).
        """
        ...

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each claim's name now; an empty list if that cannot be told."""
        ...

    async def store(self, entries: Sequence[tuple[str, bytes, float]], versions: Sequence[str | None] = ()) -> str:
        """Store each (key, value, seconds to live); return why that failed, or an empty string.

        `versions`: what of it began to be generated before a purge is dropped (`PurgeableAnswers.store`).
        """
        ...

    async def lookup_similar(self, query: SimilarQuery) -> SimilarReply:
        """Ask the LangChain cache that is plugged in, if there is one."""
        ...

    async def teach(self, lessons: Sequence[tuple[SimilarQuery, bytes, float]]) -> str:
        """Give it answers, each with its seconds to live; return why one was not taken, or an empty string."""
        ...

    async def purge(self, purge: Purge) -> str:
        """Take answers back; return why that failed, or an empty string."""
        ...

    async def figures(self) -> LookupFigures:
        """Return what this side has seen."""
        ...

    async def aclose(self) -> None:
        """Close the connections between the two sides."""
        ...


class HandleCache:
    """The `CacheLookup` deployment behind its Serve handle, which stays in here."""

    def __init__(self, handle: Any) -> None:
        """`handle` is the DeploymentHandle that app.py binds."""
        self._handle = handle

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> LookupReply:
        return await self._handle.lookup.remote(keys, claims)

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        return await self._handle.acquire.remote(claims)

    async def store(self, entries: Sequence[tuple[str, bytes, float]], versions: Sequence[str | None] = ()) -> str:
        handle = carrying(self._handle, sum(len(value) for _, value, _ in entries))
        return await handle.store.remote(entries, versions)

    async def lookup_similar(self, query: SimilarQuery) -> SimilarReply:
        return await self._handle.lookup_similar.remote(query)

    async def teach(self, lessons: Sequence[tuple[SimilarQuery, bytes, float]]) -> str:
        handle = carrying(self._handle, sum(len(query.body) + len(value) for query, value, _ in lessons))
        return await handle.teach.remote(lessons)

    async def purge(self, purge: Purge) -> str:
        return await self._handle.purge.remote(purge)

    async def figures(self) -> LookupFigures:
        return await self._handle.figures.remote()

    async def addresses(self, timeout_s: float) -> tuple[list[Address], bool]:
        """Return where the replicas take look-ups that tell it in time, and whether these are all of them."""
        found, replicas = await answers_in_time(self._handle.broadcast("address"), timeout_s)
        return found, len(found) == replicas

    async def aclose(self) -> None: ...


def write_timeout_s(settings: CacheSettings) -> float:
    """Seconds that a write may take: nobody waits for it, so it may outlast many look-ups."""
    return 20 * settings.lookup_timeout_s
