"""Where encoded answers are kept: Redis or Valkey, or this process's memory.

Both hold the same promises, under the same tests: a value is there until its
time is over or the store needs the room, and whatever goes wrong is a
`StoreError` that names its kind.
"""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

from redis import exceptions as lower
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deployments.cache.expiring import ExpiringMap

CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}


class StoreError(Exception):
    """The store did not do what it was asked; `kind` is a word for the counters."""

    def __init__(self, kind: str = "server") -> None:
        self.kind = kind
        super().__init__(kind)


class CacheStore(Protocol):
    """Bytes under names, for a time. Every method raises `StoreError` and nothing else."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values in the order of the keys, None where there is none of this kind."""
        ...

    async def set_many(self, entries: Sequence[tuple[str, bytes, float]]) -> None:
        """Keep each (key, value, seconds to live); on failure some may be kept."""
        ...

    async def clear(self, prefix: str) -> None:
        """Delete every key that begins with `prefix`."""
        ...

    async def aclose(self) -> None:
        """Let go of all connections."""
        ...


class MemoryStore:
    """The store of tests and single processes; keeps `max_bytes` in all, the least recently used go first."""

    def __init__(self, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._held: ExpiringMap[bytes] = ExpiringMap(max_bytes)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._held.get(key) for key in keys]

    async def set_many(self, entries: Sequence[tuple[str, bytes, float]]) -> None:
        for key, value, ttl_s in entries:
            self._held.put(key, value, len(value), ttl_s)

    async def clear(self, prefix: str) -> None:
        self._held.discard_prefix(prefix)

    async def aclose(self) -> None:
        self._held.discard_prefix("")


class RedisStore:
    """Redis or Valkey, by any address that redis-py knows, and `redis+cluster://` for a cluster.

    No call takes longer than its deadline, whatever the server does. Connecting
    happens with the first call.
    """

    def __init__(
        self, url: str, namespace: str = "chatllm", read_timeout_s: float = 0.04, write_timeout_s: float = 1.0
    ) -> None:
        self._namespace = f"{namespace}:"
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s
        self._client = connect(url, write_timeout_s)

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        names = [self._namespace + key for key in keys]
        with translated():
            async with asyncio.timeout(self._read_timeout_s):
                if isinstance(self._client, RedisCluster):
                    values = await self._client.mget_nonatomic(names)
                else:
                    values = await self._client.mget(names)
                return cast("list[bytes | None]", values)

    async def set_many(self, entries: Sequence[tuple[str, bytes, float]]) -> None:
        if not entries:
            return
        with translated():
            async with asyncio.timeout(self._write_timeout_s):
                pipeline = self._client.pipeline(transaction=False)
                for key, value, ttl_s in entries:
                    pipeline.set(self._namespace + key, value, px=max(1, round(ttl_s * 1000)))
                await pipeline.execute()

    async def clear(self, prefix: str) -> None:
        with translated():
            batch: list[bytes] = []
            async for name in self._client.scan_iter(match=_literal(self._namespace + prefix) + "*", count=1000):
                batch.append(name)
                if len(batch) >= 1000:
                    await self._unlink(batch)
                    batch.clear()
            await self._unlink(batch)

    async def _unlink(self, names: list[bytes]) -> None:
        if names:
            async with asyncio.timeout(self._write_timeout_s):
                await self._client.unlink(*names)

    async def aclose(self) -> None:
        with translated():
            await self._client.aclose()


def connect(url: str, timeout_s: float) -> "Redis | RedisCluster":
    """Return a client that connects with its first call; no step of a call takes longer than `timeout_s`."""
    # One repetition heals a connection that the server closed while it lay in the pool.
    scheme, _, rest = url.partition("://")
    if scheme in CLUSTER_SCHEMES:
        address = f"{CLUSTER_SCHEMES[scheme]}://{rest}"
        return RedisCluster.from_url(address, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=16,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(lower.ConnectionError,)),
    )
    return Redis.from_pool(pool)


def _literal(text: str) -> str:
    """Escape what Redis's patterns would read as a wildcard."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^-" else letter for letter in text)


# The first that fits decides, so that the special stand before the general.
KINDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((TimeoutError, lower.TimeoutError), "timeout"),
    ((lower.AuthenticationError, lower.AuthorizationError, lower.NoPermissionError), "auth"),
    ((lower.AuthenticationWrongNumberOfArgsError, lower.ExternalAuthProviderError), "auth"),
    ((lower.BusyLoadingError,), "loading"),
    ((lower.OutOfMemoryError,), "full"),
    ((lower.ReadOnlyError,), "read_only"),
    ((lower.MaxConnectionsError,), "pool"),
    ((lower.ClusterError, lower.RedisClusterException, lower.AskError, lower.TryAgainError), "cluster"),
    ((lower.ClusterCrossSlotError,), "cluster"),
    ((lower.ConnectionError, OSError), "connection"),
    ((lower.InvalidResponse, lower.DataError, ValueError), "garbage"),
    ((lower.ResponseError,), "server"),
    ((lower.RedisError, lower.ChildDeadlockedError), "client"),
)
FOREIGN = tuple(error for errors, _ in KINDS for error in errors)


@contextmanager
def translated() -> Generator[None]:
    """The border to redis-py: its errors leave as `StoreError`, without the keys and addresses of their texts."""
    try:
        yield
    except FOREIGN as error:
        kind = next(kind for errors, kind in KINDS if isinstance(error, errors))
        raise StoreError(kind) from error
