"""One contract for both stores, and what only a real server can show of ours."""

import asyncio
import uuid

import pytest
from redis import exceptions as lower
from redis.asyncio import Redis

from deployments.cache.client import CacheClient
from deployments.cache.entry import CacheEntry
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import MemoryStore, RedisStore
from deployments.config import CacheSettings
from deployments.infra.redis.errors import FOREIGN, KINDS


@pytest.fixture
def namespace():
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture(params=["memory", "redis"])
async def store(request, namespace):
    if request.param == "memory":
        store = MemoryStore()
    else:
        store = RedisStore(request.getfixturevalue("valkey_url"), namespace, read_timeout_s=5, write_timeout_s=5)
    yield store
    await store.clear("")
    await store.aclose()


async def test_values_come_in_the_order_of_the_keys(store):
    await store.set_many([("a", b"1", 60.0), ("b", bytes(range(256)), 60.0)])
    assert await store.get_many(["b", "missing", "a", "b"]) == [bytes(range(256)), None, b"1", bytes(range(256))]


async def test_nothing_asked_nothing_done(store):
    await store.set_many([])
    assert await store.get_many([]) == []


async def test_the_last_value_counts(store):
    await store.set_many([("a", b"1", 60.0), ("a", b"2", 60.0)])
    await store.set_many([("b", b"3", 60.0)])
    assert await store.get_many(["a", "b"]) == [b"2", b"3"]


async def test_a_value_expires(store):
    await store.set_many([("short", b"1", 0.05), ("long", b"2", 60.0)])
    await asyncio.sleep(0.1)
    assert await store.get_many(["short", "long"]) == [None, b"2"]


async def test_clearing_takes_a_prefix_literally(store):
    keys = ["v1:a*:1", "v1:ab:1", "v1:a?:1", "v2:a*:1"]
    await store.set_many([(key, b"1", 60.0) for key in keys])
    await store.clear("v1:a*")
    assert await store.get_many(keys) == [None, b"1", b"1", b"1"]


async def test_clearing_many_keys(store):
    await store.set_many([(f"x:{number}", b"1", 60.0) for number in range(2_500)])
    await store.set_many([("y", b"1", 60.0)])
    await store.clear("x:")
    assert await store.get_many(["x:0", "x:2499", "y"]) == [None, None, b"1"]


async def test_values_and_marks_are_read_together(store):
    await store.set_many([("a", b"1", 60.0)])
    assert await store.read(["a", "missing"], ["one", "two"]) == ([b"1", None], {"one": None, "two": None})
    assert await store.add_mark("one", b"x") == b"x"
    assert await store.add_mark("one", b"y") == b"x"
    assert await store.set_marks({"two": b"y"}) == 2
    assert await store.read(["a"], ["two", "one"]) == ([b"1"], {"two": b"y", "one": b"x"})
    assert await store.set_marks({"three": b"z"}, alone=True) == 1
    assert await store.read([], ["one", "three"]) == ([], {"one": None, "three": b"z"})


async def test_one_key_is_deleted(store):
    await store.set_many([("a", b"1", 60.0), ("b", b"2", 60.0)])
    await store.delete("a")
    await store.delete("missing")
    assert await store.get_many(["a", "b"]) == [None, b"2"]


async def test_clearing_everything_takes_the_marks(store):
    await store.set_marks({"one": b"x"})
    await store.clear("x:")
    assert (await store.read([], ["one"]))[1] == {"one": b"x"}
    await store.clear("")
    assert (await store.read([], ["one"]))[1] == {"one": None}


async def test_figures(store):
    await store.set_many([("a", b"1" * 1000, 60.0)])
    figures = await store.figures()
    assert figures.names is not None and figures.names >= 1
    assert figures.used_bytes is not None and figures.used_bytes > 1000


async def test_many_calls_at_once_share_few_connections(store):
    await store.set_many([("a", b"1", 60.0)])
    assert await asyncio.gather(*(store.get_many(["a"]) for _ in range(300))) == [[b"1"]] * 300


async def test_namespaces_do_not_meet(valkey_url, namespace):
    one, other = (RedisStore(valkey_url, f"{namespace}{n}", 5, 5) for n in range(2))
    await one.set_many([("a", b"1", 60.0)])
    await other.clear("")
    assert (await one.get_many(["a"]), await other.get_many(["a"])) == ([b"1"], [None])
    await one.clear("")
    await one.aclose()
    await other.aclose()


@pytest.mark.parametrize("stored", ["garbage", "another type", "nothing"])
async def test_what_others_left_under_the_key_is_a_miss_and_is_replaced(valkey_url, namespace, stored):
    settings = CacheSettings(namespace=namespace, lookup_timeout_s=2)
    raw = Redis.from_url(valkey_url)
    if stored == "garbage":
        await raw.set(f"{namespace}:key", b"\x01\x02not an entry")
    elif stored == "another type":
        await raw.rpush(f"{namespace}:key", "a", "list")
    store = RedisStore(valkey_url, namespace, 5, 5)
    client = CacheClient(CacheLookup(settings, store), settings)
    assert await client.lookup("key") is None
    assert client.misses == {"garbage" if stored == "garbage" else "absent": 1}
    entry = CacheEntry(b"{}", b"", 1.0)
    client.store("key", entry)
    await client.aclose()
    second = CacheClient(CacheLookup(settings, store), settings)
    assert await second.lookup("key") == entry
    assert 86_000 < await raw.ttl(f"{namespace}:key") <= 86_400
    await second.aclose()
    await store.clear("")
    await store.aclose()
    await raw.aclose()


def subclasses(error: type) -> set[type]:
    return {error}.union(*map(subclasses, error.__subclasses__()))


def test_every_error_of_the_client_library_has_a_kind():
    """The general kinds are listed here, so that a new error of redis-py fails until it is considered."""
    errors = {error for error in vars(lower).values() if isinstance(error, type) and issubclass(error, Exception)}
    kinds = {
        error.__name__: next(kind for kind_of, kind in KINDS if issubclass(error, kind_of))
        for error in errors - {lower.IncorrectPolicyType}
        if issubclass(error, FOREIGN)
    }
    general = {name for name, kind in kinds.items() if kind in ("server", "client")}
    assert {error.__name__ for error in errors} - kinds.keys() == {"IncorrectPolicyType"}
    assert general == {
        "RedisError",
        "ResponseError",
        "PubSubError",
        "WatchError",
        "ChildDeadlockedError",
        "NoScriptError",
        "ExecAbortError",
        "ModuleError",
        "NoSuchFieldsetError",
    }
