import asyncio
import time

import pytest

from deployments.cache import gathering, writing
from deployments.cache.client import CacheClient, NoCache
from deployments.cache.entry import CacheEntry, encode
from deployments.cache.lookup import CacheLookup
from deployments.cache.remote import LookupReply
from deployments.cache.store import MemoryStore
from deployments.config import CacheSettings

SETTINGS = CacheSettings(lookup_timeout_s=0.05)
ENTRY = CacheEntry(b'{"id":"chatcmpl-1","created":5,"choices":[]}', b"data: {}\n\n", 5.0)


class Remote:
    """A cache deployment that can be held up, broken and watched."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.calls: list[list[str]] = []
        self.writes: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure = ""
        self.error: Exception | None = None

    async def lookup(self, keys):
        self.calls.append(list(keys))
        await self.gate.wait()
        if self.error:
            raise self.error
        return LookupReply([self.values.get(key) for key in keys], self.failure)

    async def store(self, entries, versions=()):
        self.writes.append(len(entries))
        await self.gate.wait()
        if self.error:
            raise self.error
        self.values.update((key, value) for key, value, _ in entries)
        return self.failure

    async def aclose(self):
        pass


@pytest.fixture
def remote():
    return Remote()


@pytest.fixture
async def client(remote):
    client = CacheClient(remote, SETTINGS)
    yield client
    remote.gate.set()
    await client.aclose()


async def settled(client: CacheClient) -> None:
    for _ in range(1000):
        if client.stored or client.drops:
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


async def test_what_one_replica_stores_another_finds():
    lookup = CacheLookup(SETTINGS, MemoryStore())
    one, other = CacheClient(lookup, SETTINGS), CacheClient(lookup, SETTINGS)
    assert await one.lookup("key") is None
    one.store("key", ENTRY)
    await one.aclose()
    assert await other.lookup("key") == ENTRY
    assert (one.stored, one.misses["absent"], other.hits, other.hot_hits) == (1, 1, 1, 0)
    await other.aclose()


async def test_the_replica_that_stores_finds_at_once(client, remote):
    assert await client.lookup("key") is None
    remote.gate.clear()
    client.store("key", ENTRY)
    assert await client.lookup("key") is ENTRY
    assert (client.hot_hits, remote.calls) == (1, [["key"]])


async def test_a_hot_entry_is_asked_for_again_after_its_time(remote):
    client = CacheClient(remote, CacheSettings(hot_ttl_s=0.02))
    remote.values["key"] = encode(ENTRY)
    for _ in range(3):
        assert await client.lookup("key") == ENTRY
    assert len(remote.calls) == 1
    await asyncio.sleep(0.03)
    assert await client.lookup("key") == ENTRY
    assert len(remote.calls) == 2
    await client.aclose()


async def test_lookups_that_wait_together_travel_together(client, remote):
    remote.gate.clear()
    waiting = [asyncio.create_task(client.lookup(f"{number}")) for number in range(100)]
    await asyncio.sleep(0.005)
    assert [len(call) for call in remote.calls] == [1, 1]
    remote.gate.set()
    await asyncio.gather(*waiting)
    assert [len(call) for call in remote.calls] == [1, 1, 98]
    assert client.misses["absent"] == 100


async def test_one_call_carries_a_bounded_number_of_keys(client, remote, monkeypatch):
    monkeypatch.setattr(gathering, "MAX_KEYS_PER_CALL", 10)
    await asyncio.gather(*(client.lookup(f"{number}") for number in range(45)))
    assert max(len(call) for call in remote.calls) == 10
    assert sorted(key for call in remote.calls for key in call) == sorted(f"{number}" for number in range(45))


async def test_the_same_key_is_asked_for_once(client, remote):
    remote.values["key"] = encode(ENTRY)
    found = await asyncio.gather(*(client.lookup("key") for _ in range(50)))
    assert found == [ENTRY] * 50
    assert remote.calls == [["key"]]


async def test_a_late_answer_is_a_miss_in_time(client, remote):
    remote.gate.clear()
    began = time.perf_counter()
    found = await asyncio.gather(*(client.lookup(f"{number}") for number in range(20)))
    assert found == [None] * 20
    assert time.perf_counter() - began < 0.5  # one after the other they would take 1 s
    assert client.misses == {"timeout": 20}


async def test_one_callers_cancellation_hurts_no_other(client, remote):
    remote.values["key"] = encode(ENTRY)
    remote.gate.clear()
    first, second = (asyncio.create_task(client.lookup("key")) for _ in range(2))
    await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.sleep(0.001)
    remote.gate.set()
    assert await second == ENTRY
    assert first.cancelled()


@pytest.mark.parametrize(
    ("failure", "error", "reason"),
    [("timeout", None, "redis_timeout"), ("", RuntimeError("replica died"), "deployment")],
)
async def test_a_failure_is_a_counted_miss(client, remote, failure, error, reason):
    remote.failure, remote.error = failure, error
    assert await client.lookup("key") is None
    assert client.misses == {reason: 1}


@pytest.mark.parametrize("reply", [LookupReply([]), LookupReply([None, None]), "nonsense", None])
async def test_a_malformed_reply_is_a_counted_miss(client, remote, reply, monkeypatch):
    async def lookup(keys):
        return reply

    monkeypatch.setattr(remote, "lookup", lookup)
    assert await client.lookup("key") is None
    assert client.misses == {"deployment": 1}


async def test_a_garbled_entry_is_a_counted_miss(client, remote):
    remote.values["key"] = b"\x01garbage"
    assert await client.lookup("key") is None
    assert client.misses == {"garbage": 1}


async def test_a_deployment_that_stays_away_costs_no_more_waiting(client, remote):
    remote.gate.clear()
    for number in range(5):
        await client.lookup(f"{number}")
    began = time.perf_counter()
    for number in range(100):
        assert await client.lookup(f"again {number}") is None
    assert time.perf_counter() - began < 1.0  # each on its own they would take 5 s
    assert client.misses == {"timeout": 5, "breaker_open": 100}
    remote.gate.set()
    remote.values["key"] = encode(ENTRY)
    await asyncio.sleep(0.15)
    assert await client.lookup("key") == ENTRY


async def test_too_many_waiting_keys_are_misses_at_once(client, remote, monkeypatch):
    monkeypatch.setattr(gathering, "MAX_WAITING_KEYS", 3)
    remote.gate.clear()
    await asyncio.gather(*(client.lookup(f"{number}") for number in range(5)))
    assert client.misses == {"overflow": 2, "timeout": 3}


async def test_entries_are_written_together(client, remote):
    for number in range(50):
        client.store(f"{number}", ENTRY)
    await settled(client)
    assert (remote.writes, client.stored) == ([50], 50)


async def test_a_full_queue_drops_and_counts(client, remote, monkeypatch):
    monkeypatch.setattr(writing, "MAX_QUEUED_BYTES", 2 * ENTRY.size_bytes)
    remote.gate.clear()
    for number in range(5):
        client.store(f"{number}", ENTRY)
    assert client.drops == {"queue_full": 3}


async def test_an_answer_over_the_limit_is_not_stored(remote):
    client = CacheClient(remote, CacheSettings(max_entry_bytes=1024))
    client.store("key", CacheEntry(b"x" * 1025, b"", 1.0))
    assert await client.lookup("key") is None
    assert client.drops == {"too_large": 1}
    await client.aclose()


@pytest.mark.parametrize(
    ("failure", "error", "reason"), [("full", None, "redis_full"), ("", RuntimeError(), "deployment")]
)
async def test_what_cannot_be_written_is_dropped_and_counted(client, remote, failure, error, reason):
    remote.failure, remote.error = failure, error
    client.store("key", ENTRY)
    await settled(client)
    assert (client.drops, client.stored) == ({reason: 1}, 0)


async def test_closing_writes_what_waits_and_leaves_nobody_waiting(remote):
    client = CacheClient(remote, SETTINGS)
    client.store("key", ENTRY)
    remote.gate.clear()
    waiting = asyncio.create_task(client.lookup("other"))
    await asyncio.sleep(0.001)
    remote.gate.set()
    await client.aclose()
    assert await waiting is None
    assert remote.values == {"key": encode(ENTRY)}


async def test_a_cache_that_is_switched_off_finds_nothing():
    cache = NoCache()
    cache.store("key", ENTRY)
    assert await cache.lookup("key") is None
    await cache.aclose()
