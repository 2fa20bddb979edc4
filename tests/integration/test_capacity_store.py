"""The promises of shares' stores, kept by the one in Redis and by the one in memory alike."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncGenerator

import pytest

from deployments.queueing.remote import RedisCapacity
from deployments.queueing.shares import CapacityStore, MemoryCapacity

LEASE_S = 0.3


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[CapacityStore]:
    if request.param == "memory":
        store: CapacityStore = MemoryCapacity(time.monotonic, LEASE_S)
    else:
        store = RedisCapacity(request.getfixturevalue("valkey_url"), f"test-{secrets.token_hex(4)}", LEASE_S)
    yield store
    await store.aclose()


async def places(store: CapacityStore, replica: str, wanted: int, filled: int = 0, capacity: int = 64) -> int:
    return (await store.renew("app/it", replica, capacity, wanted, filled)).places


async def test_shares_are_fair_and_follow_what_is_wanted(store: CapacityStore) -> None:
    assert await places(store, "a", 100, 64) == 64
    assert await places(store, "b", 100) == 1
    assert await places(store, "a", 100, 32) == 32
    assert await places(store, "b", 100) == 32
    await places(store, "a", 0)
    assert await places(store, "b", 100) >= 48


async def test_what_is_released_or_has_expired_is_free(store: CapacityStore) -> None:
    await places(store, "a", 100, 64)
    await store.release("app/it", "a")
    assert await places(store, "b", 100) == 64
    await asyncio.sleep(LEASE_S + 0.05)
    assert await places(store, "c", 100) == 64


async def test_both_stores_decide_alike(request: pytest.FixtureRequest) -> None:
    rng, memory = random.Random(7), MemoryCapacity(time.monotonic, 60)
    redis = RedisCapacity(request.getfixturevalue("valkey_url"), f"test-{secrets.token_hex(4)}", 60)
    for _ in range(200):
        replica, wanted, capacity = rng.choice("abcde"), rng.randrange(200), rng.choice((1, 3, 64, 256))
        filled = rng.randrange(wanted + 1)
        asked = replica, wanted, filled, capacity
        assert await places(memory, *asked) == await places(redis, *asked)
    await redis.aclose()
