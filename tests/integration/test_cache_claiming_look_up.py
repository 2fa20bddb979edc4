"""A look-up claims what is missing in its one round trip, and in one of its own only where it must."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deployments.cache.claims import Claim, RedisClaims, name_since
from deployments.cache.lookup import CacheLookup
from deployments.cache.purging import Purge
from deployments.cache.store import RedisStore
from deployments.config import CacheSettings
from tests.valkey import Server

ONE, OTHER = b"one", b"other"
KEY, MISSING = "v1:tenant:model:1", "v1:tenant:model:2"


class CountedClaims(RedisClaims):
    """Claims that tell how many round trips of their own they took."""

    trips = 0

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        self.trips += 1
        return await super().acquire(claims)


class Replica:
    """One replica of the cache deployment, and what lies in its Redis."""

    def __init__(self, url: str, namespace: str) -> None:
        self.claims = CountedClaims(url, namespace, timeout_s=5)
        self._store = RedisStore(url, namespace, 5, 5)
        self.lookup = CacheLookup(CacheSettings(), self._store, self.claims)
        self._redis = Redis.from_url(url)
        self._prefix = f"{namespace}:inflight:"

    async def claimed(self) -> set[str]:
        names = [name.decode() async for name in self._redis.scan_iter(match=f"{self._prefix}*")]
        return {name.removeprefix(self._prefix) for name in names}

    async def aclose(self) -> None:
        await self._redis.aclose()
        await self.claims.aclose()
        await self._store.aclose()


@pytest.fixture
async def replica(valkey_url: str) -> AsyncGenerator[Replica]:
    replica = Replica(valkey_url, f"test-{uuid.uuid4().hex}")
    yield replica
    await replica.aclose()


async def test_what_is_missing_is_claimed_along_with_the_look_up(replica: Replica) -> None:
    first = await replica.lookup.lookup([KEY, MISSING], [Claim("a", ONE), None])
    second = await replica.lookup.lookup([MISSING, KEY, MISSING], [Claim("b", OTHER), Claim("a", OTHER), None])
    assert (first.owners, second.owners) == ([ONE, b""], [OTHER, ONE, b""])
    assert replica.claims.trips == 0


async def test_what_is_there_is_not_claimed(replica: Replica) -> None:
    await replica.lookup.store([(KEY, b"answer", 60.0)])
    found = await replica.lookup.lookup([KEY, MISSING], [Claim("a", ONE), Claim("b", ONE)])
    assert (found.values, found.owners) == ([b"answer", None], [b"", ONE])
    assert await replica.claimed() == {name_since("b", found.version)}


async def test_after_a_purge_the_claim_is_on_the_new_generation(replica: Replica) -> None:
    before = await replica.lookup.lookup([KEY], [Claim("a", ONE)])
    await replica.lookup.purge(Purge())
    after = await replica.lookup.lookup([KEY], [Claim("a", OTHER)])
    assert (before.owners, after.owners) == ([ONE], [OTHER])
    assert replica.claims.trips == 1, "the version was not known before"
    assert name_since("a", after.version) in await replica.claimed()
    again = await replica.lookup.lookup([KEY], [Claim("a", ONE)])
    assert again.owners == [OTHER] and replica.claims.trips == 1


async def test_what_lies_there_and_was_purged_is_claimed(replica: Replica) -> None:
    await replica.lookup.store([(KEY, b"answer", 60.0)])
    await replica.lookup.purge(Purge(tenant="tenant"))
    for address in (ONE, OTHER):
        found = await replica.lookup.lookup([KEY], [Claim("a", address)])
        assert (found.values, found.owners) == ([None], [ONE])


async def test_a_full_server_answers_look_ups_and_says_that_nothing_is_claimed(tmp_path: Path) -> None:
    server = Server(tmp_path, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    try:
        replica = Replica(server.url, "test")
        found = await replica.lookup.lookup([KEY], [Claim("a", ONE)])
        assert (found.values, found.failure, found.owners) == ([None], "", [b""])
        assert replica.lookup.failures == {"claim_full": 1}
        await replica.aclose()
    finally:
        server.kill()
