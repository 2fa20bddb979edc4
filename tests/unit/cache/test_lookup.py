import pytest

from deployments.cache.lookup import CacheLookup
from deployments.cache.remote import LookupReply
from deployments.cache.store import MemoryStore
from deployments.config import CacheSettings
from deployments.infra.redis.errors import StoreError


class BrokenStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.read_error: Exception | None = None
        self.write_error: Exception | None = None

    async def get_many(self, keys):
        self.calls += 1
        if self.read_error:
            raise self.read_error
        return await super().get_many(keys)

    async def set_many(self, entries):
        if self.write_error:
            raise self.write_error
        await super().set_many(entries)


@pytest.fixture
def store():
    return BrokenStore()


@pytest.fixture
def lookup(store):
    return CacheLookup(CacheSettings(), store)


async def test_values_come_in_the_order_of_the_keys(lookup):
    assert await lookup.store([("a", b"1", 60.0), ("b", b"2", 60.0)]) == ""
    assert await lookup.lookup(["b", "missing", "a"]) == LookupReply([b"2", None, b"1"])


async def test_a_failing_store_is_a_miss_with_its_reason(lookup, store):
    store.read_error = StoreError("connection")
    assert await lookup.lookup(["a", "b"]) == LookupReply([None, None], "connection")
    assert lookup.failures == {"connection": 1}


async def test_after_failures_in_a_row_the_store_is_left_alone(lookup, store):
    store.read_error = StoreError("timeout")
    for _ in range(20):
        found = await lookup.lookup(["a"])
    assert found == LookupReply([None], "breaker_open")
    assert store.calls == 5
    assert lookup.failures == {"timeout": 5, "breaker_open": 15}


async def test_a_full_store_still_answers_lookups(lookup, store):
    await lookup.store([("a", b"1", 60.0)])
    store.write_error = StoreError("full")
    kinds = [await lookup.store([("b", b"2", 60.0)]) for _ in range(7)]
    assert kinds == ["full"] * 5 + ["breaker_open"] * 2
    assert await lookup.lookup(["a"]) == LookupReply([b"1"])
    assert lookup.failures == {"store_full": 5, "store_breaker_open": 2}


async def test_the_replica_stays_healthy_without_redis(lookup, store):
    store.read_error = StoreError("connection")
    for _ in range(10):
        await lookup.lookup(["a"])
    await lookup.check_health()


def test_the_address_comes_from_the_environment_and_is_not_used_before_the_first_call(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere/x")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    CacheLookup(CacheSettings())
