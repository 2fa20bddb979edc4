"""Where encoded answers are kept: Redis or Valkey, or this process's memory.

Both hold the same promises, under the same tests: a value is there until its
time has passed or the store needs the room, and whatever goes wrong is a
`StoreError` that names its kind.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from redis import exceptions as lower
from redis.asyncio import RedisCluster

from deployments.cache.claims import Claim, claim_call
from deployments.cache.expiring import ExpiringMap
from deployments.infra.redis.client import connect
from deployments.infra.redis.errors import translated

MARKS = "marks"


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What a store holds: `names` and `used_bytes` of the whole server, which others may use too; None if unknown."""

    names: int | None = None
    used_bytes: int | None = None
    max_bytes: int | None = None
    evicted: int | None = None


class CacheStore(Protocol):
    """Bytes under names, for a time, and a few marks that stay. Every method raises `StoreError` and nothing else.

    The marks are kept or lost all together, never one alone.
    """

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values in the order of the keys, None where there is none of this kind."""
        ...

    async def read(
        self, keys: Sequence[str], marks: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        """Return the values as `get_many` does, and the marks by name, in one round trip."""
        ...

    async def read_or_claim(
        self, keys: Sequence[str], marks: Sequence[str], claims: Sequence[Claim | None]
    ) -> tuple[list[bytes | None], dict[str, bytes | None], list[bytes | None]]:
        """Do what `read` does, and in the same round trip hold the claim that goes with a key without a value.

        The last are who holds each claim now; None for one that was not tried, where that must be asked for by itself.
        """
        ...

    async def set_many(self, entries: Sequence[tuple[str, bytes, float]]) -> None:
        """Keep each (key, value, seconds to live); on failure some may be kept."""
        ...

    async def set_marks(self, marks: Mapping[str, bytes], *, alone: bool = False) -> int:
        """Set marks and return how many there are now; with `alone` all others are taken away."""
        ...

    async def add_mark(self, name: str, mark: bytes) -> bytes:
        """Set a mark unless it is there; return the one that is."""
        ...

    async def delete(self, key: str) -> None:
        """Delete one key, if it is there."""
        ...

    async def clear(self, prefix: str) -> None:
        """Delete every key that begins with `prefix`, and with an empty one the marks as well."""
        ...

    async def figures(self) -> StoreFigures:
        """Return what the server holds."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class MemoryStore:
    """The store of tests and single processes; keeps `max_bytes` in all, the least recently used go first."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._held: ExpiringMap[bytes] = ExpiringMap(max_bytes)
        self._marks: dict[str, bytes] = {}

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._held.get(key) for key in keys]

    async def read(
        self, keys: Sequence[str], marks: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        return await self.get_many(keys), {name: self._marks.get(name) for name in marks}

    async def read_or_claim(
        self, keys: Sequence[str], marks: Sequence[str], claims: Sequence[Claim | None]
    ) -> tuple[list[bytes | None], dict[str, bytes | None], list[bytes | None]]:
        values, found = await self.read(keys, marks)
        return values, found, [None for _ in claims]

    async def set_many(self, entries: Sequence[tuple[str, bytes, float]]) -> None:
        for key, value, ttl_s in entries:
            self._held.put(key, value, len(value), ttl_s)

    async def set_marks(self, marks: Mapping[str, bytes], *, alone: bool = False) -> int:
        self._marks = dict(marks) if alone else {**self._marks, **marks}
        return len(self._marks)

    async def add_mark(self, name: str, mark: bytes) -> bytes:
        return self._marks.setdefault(name, mark)

    async def delete(self, key: str) -> None:
        self._held.discard(key)

    async def clear(self, prefix: str) -> None:
        self._held.discard_prefix(prefix)
        if not prefix:
            self._marks.clear()

    async def figures(self) -> StoreFigures:
        return StoreFigures(len(self._held), self._held.held_bytes, self._held.max_bytes)

    async def aclose(self) -> None:
        self._held.discard_prefix("")


class RedisStore:
    """Redis or Valkey, by any address that `infra/redis/client.py` knows.

    No call takes longer than its deadline, whatever the server does. Connecting
    happens with the first call.
    """

    def __init__(
        self, url: str, namespace: str = "chatllm", read_timeout_s: float = 0.04, write_timeout_s: float = 1.0
    ) -> None:
        self._namespace = namespace
        self._marks = f"{namespace}:{MARKS}"
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._client = connect(url, write_timeout_s)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        names = [f"{self._namespace}:{key}" for key in keys]
        with translated():
            async with asyncio.timeout(self._read_timeout_s):
                if isinstance(self._client, RedisCluster):
                    values = await self._client.mget_nonatomic(names)
                else:
                    values = await self._client.mget(names)
                return cast("list[bytes | None]", values)

    async def read(
        self, keys: Sequence[str], marks: Sequence[str]
    ) -> tuple[list[bytes | None], dict[str, bytes | None]]:
        values, found, _ = await self.read_or_claim(keys, marks, ())
        return values, found

    async def read_or_claim(
        self, keys: Sequence[str], marks: Sequence[str], claims: Sequence[Claim | None]
    ) -> tuple[list[bytes | None], dict[str, bytes | None], list[bytes | None]]:
        names = [f"{self._namespace}:{key}" for key in keys]
        owners: list[bytes | None] = [None] * len(claims)
        with translated():
            async with asyncio.timeout(self._read_timeout_s):
                pipeline = self._client.pipeline(transaction=False)
                pipeline.hmget(self._marks, list(marks))
                if isinstance(self._client, RedisCluster):
                    for name in names:
                        pipeline.get(name)
                    tried: list[int] = []  # claim and answer lie on different servers
                else:
                    if names:
                        pipeline.mget(names)
                    tried = [place for place, claim in enumerate(claims) if claim]
                for place in tried:
                    call = claim_call(self._namespace, cast(Claim, claims[place]), names[place])
                    pipeline.execute_command("EVAL", *call)
                # The value of another type that lies under a key is an error of its own, and no value of ours.
                found, *values = await pipeline.execute(raise_on_error=False)
        with translated():
            if tried:
                held, values = values[-len(tried) :], values[: -len(tried)]
                for place, owner in zip(tried, held, strict=True):
                    owners[place] = _value(owner)
            if names and not isinstance(self._client, RedisCluster):
                values = _raised(values[0])
            return [_value(value) for value in values], dict(zip(marks, _raised(found), strict=True)), owners

    async def set_many(self, entries: Sequence[tuple[str, bytes, float]]) -> None:
        if not entries:
            return
        with translated():
            async with asyncio.timeout(self._write_timeout_s):
                pipeline = self._client.pipeline(transaction=False)
                for key, value, ttl_s in entries:
                    pipeline.set(f"{self._namespace}:{key}", value, px=max(1, round(ttl_s * 1000)))
                await pipeline.execute()

    async def set_marks(self, marks: Mapping[str, bytes], *, alone: bool = False) -> int:
        with translated():
            async with asyncio.timeout(self._write_timeout_s):
                pipeline = self._client.pipeline(transaction=True)
                if alone:
                    pipeline.delete(self._marks)
                pipeline.hset(self._marks, mapping=cast("dict[Any, Any]", dict(marks)))
                pipeline.hlen(self._marks)
                return int((await pipeline.execute())[-1])

    async def add_mark(self, name: str, mark: bytes) -> bytes:
        with translated():
            async with asyncio.timeout(self._write_timeout_s):
                await self._client.hsetnx(self._marks, name, cast("str", mark))
                found = await cast("Awaitable[bytes | None]", self._client.hget(self._marks, name))
                return found or mark

    async def delete(self, key: str) -> None:
        with translated():
            await self._unlink([f"{self._namespace}:{key}".encode()])

    async def clear(self, prefix: str) -> None:
        with translated():
            batch: list[bytes] = []
            async for name in self._client.scan_iter(match=_literal(f"{self._namespace}:{prefix}") + "*", count=1000):
                batch.append(name)
                if len(batch) >= 1000:
                    await self._unlink(batch)
                    batch.clear()
            await self._unlink(batch)

    async def _unlink(self, names: list[bytes]) -> None:
        if names:
            async with asyncio.timeout(self._write_timeout_s):
                await self._client.unlink(*names)

    async def figures(self) -> StoreFigures:
        if isinstance(self._client, RedisCluster):
            return StoreFigures()
        with translated():
            async with asyncio.timeout(self._write_timeout_s):
                pipeline = self._client.pipeline(transaction=False)
                pipeline.dbsize()
                pipeline.info("memory")
                pipeline.info("stats")
                names, memory, stats = cast("tuple[int, dict[str, Any], dict[str, Any]]", await pipeline.execute())
        return StoreFigures(names, memory.get("used_memory"), memory.get("maxmemory"), stats.get("evicted_keys"))

    async def aclose(self) -> None:
        with translated():
            await self._client.aclose()


def _value(found: Any) -> bytes | None:
    return None if isinstance(found, lower.ResponseError) else _raised(found)


def _raised(found: Any) -> Any:
    """Raise the error that a pipeline returned in place of an answer."""
    if isinstance(found, Exception):
        raise found
    return found


def _literal(text: str) -> str:
    """Escape what Redis's patterns would read as a wildcard."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^-" else letter for letter in text)
