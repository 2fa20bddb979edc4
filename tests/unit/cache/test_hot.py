"""What a replica keeps in memory is served only while it knows that nothing was purged."""

import asyncio
from contextlib import closing

import pytest

from deployments.cache import client as client_module
from deployments.cache import hot as hot_module
from deployments.cache.client import CacheClient
from deployments.cache.entry import CacheEntry
from deployments.cache.hot import HotEntries
from deployments.cache.lookup import CacheLookup
from deployments.cache.purging import Purge
from deployments.cache.remote import LookupReply
from deployments.cache.steering import CacheControl
from deployments.cache.store import MemoryStore
from deployments.chat.coalescing import Coalescer
from deployments.chat.generation import Subscription
from deployments.chat.lookup import AnswerLookup, CacheQuery
from deployments.config import CacheSettings
from deployments.models.protocol import ModelRequest, Put, Reply

ENTRY = CacheEntry(b'{"id":"chatcmpl-1","created":5,"choices":[]}', b"data: {}\n\n", 5.0)


class Remote(CacheLookup):
    """A cache deployment in memory, which may be out of reach."""

    def __init__(self) -> None:
        super().__init__(CacheSettings(), MemoryStore())
        self.is_away = False
        self.calls = 0

    async def lookup(self, keys, claims=()):
        self.calls += 1
        if self.is_away:
            raise ConnectionError
        return await super().lookup(keys, claims)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def hot(clock):
    hot = HotEntries(Remote(), 1_000_000, 10.0, 0.05, clock)
    yield hot
    await hot.aclose()


async def test_an_entry_is_served_while_the_version_is_young(hot, clock):
    hot.saw("one", clock())
    hot.put("key", ENTRY)
    clock.now_s += 0.9
    assert hot.get("key") is ENTRY
    clock.now_s += 0.2
    assert hot.get("key") is None
    hot.saw("one", clock())
    assert hot.get("key") is ENTRY


async def test_nothing_is_served_before_a_version_is_known(hot):
    hot.put("key", ENTRY)
    assert hot.get("key") is None


async def test_another_version_empties_the_memory(hot, clock):
    hot.saw("one", clock())
    hot.put("key", ENTRY)
    hot.saw("two", clock())
    assert hot.get("key") is None
    assert (len(hot), hot.held_bytes) == (0, 0)


async def test_what_was_found_at_a_version_that_has_passed_is_not_kept(hot, clock):
    hot.saw("two", clock())
    hot.saw("one", clock() - 0.5)  # asked before, arrived later
    hot.put("key", ENTRY, "one")
    assert hot.get("key") is None
    hot.put("key", ENTRY, "two")
    assert hot.get("key") is ENTRY


async def test_an_entry_expires(hot, clock):
    hot.saw("one", clock())
    hot.put("key", ENTRY)
    clock.now_s += 10.1
    hot.saw("one", clock())
    assert hot.get("key") is None


async def test_what_has_expired_goes_without_another_answer(monkeypatch):
    monkeypatch.setattr(hot_module, "POLL_S", 0.01)
    hot = HotEntries(Remote(), 1_000_000, 0.05, 0.05)
    for key in ("first", "second"):
        hot.put(key, ENTRY)
    assert hot.held_bytes > 0 and hot.get("other") is None
    async with asyncio.timeout(2):
        while hot.held_bytes:
            await asyncio.sleep(0.01)
    await hot.aclose()


async def test_a_purge_elsewhere_holds_within_a_second(monkeypatch):
    remote = Remote()
    here, there = (CacheClient(remote, CacheSettings()) for _ in range(2))
    here.store("key", ENTRY)
    while not here.stored:
        await asyncio.sleep(0.001)
    assert await there.lookup("key") == await there.lookup("key") == ENTRY
    assert there.hot_hits == 1
    assert await here.purge(Purge()) == ""
    assert await here.lookup("key") is None
    async with asyncio.timeout(1.0):
        while await there.lookup("key") is not None:
            await asyncio.sleep(0.01)
    await here.aclose()
    await there.aclose()


async def test_a_new_answer_stays_in_memory_only_if_it_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(client_module, "GENERATED_TTL_S", 0.05)
    client = CacheClient(Remote(), CacheSettings())
    await client.lookup("key")
    client.store("key", ENTRY)
    assert await client.lookup("key") == ENTRY and client.hot_hits == 1
    while not client.stored:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.06)
    assert client.hot("key") is None
    assert await client.lookup("key") == ENTRY and client.hot_hits == 1
    await asyncio.sleep(0.06)
    assert client.hot("key") == ENTRY
    await client.aclose()


async def test_a_replica_that_cannot_ask_serves_nothing_after_a_second(monkeypatch):
    monkeypatch.setattr(hot_module, "VIEW_TTL_S", 0.1)
    monkeypatch.setattr(hot_module, "POLL_S", 0.02)
    remote = Remote()
    client = CacheClient(remote, CacheSettings())
    assert await client.lookup("key") is None
    client.store("key", ENTRY)
    await asyncio.sleep(0.2)
    assert await client.lookup("key") == ENTRY
    assert client.hot_hits == 1
    remote.is_away = True
    await asyncio.sleep(0.15)
    assert await client.lookup("key") is None
    await client.aclose()


async def test_a_replica_that_nobody_asks_asks_nobody(monkeypatch):
    monkeypatch.setattr(hot_module, "IDLE_S", 0.05)
    monkeypatch.setattr(hot_module, "POLL_S", 0.01)
    remote = Remote()
    client = CacheClient(remote, CacheSettings())
    await client.lookup("key")
    await asyncio.sleep(0.1)
    calls = remote.calls
    assert calls > 1
    await asyncio.sleep(0.05)
    assert remote.calls == calls
    await client.lookup("key")
    await asyncio.sleep(0.03)
    assert remote.calls > calls + 1
    await client.aclose()


@pytest.mark.parametrize("reply", [None, "nonsense", LookupReply([], "timeout")])
async def test_a_version_that_is_not_told_is_not_seen(clock, reply):
    class Silent(Remote):
        async def lookup(self, keys, claims=()):
            return reply

    hot = HotEntries(Silent(), 1_000_000, 10.0, 0.05, clock)
    hot.put("key", ENTRY)
    await hot._ask()
    assert hot.get("key") is None
    await hot.aclose()


async def test_what_is_generated_anew_is_kept_after_a_purge_of_which_this_replica_has_not_heard():
    remote = Remote()
    here, there = (CacheClient(remote, CacheSettings(lookup_timeout_s=2)) for _ in range(2))
    await here.lookup("other")
    here.memory._seen_at -= 60  # nobody has asked this replica for a while
    assert await there.purge(Purge()) == ""
    found = await AnswerLookup(here, Coalescer(here)).find(
        CacheQuery("key", "", CacheControl(no_cache=True), "chatcmpl-1"), ModelRequest("1", b"{}", False), generate
    )
    assert isinstance(found.answer, Subscription)
    with closing(found.answer) as answer:
        assert (await answer.reply()).body == b"anew"
    await here.aclose()
    assert (await there.lookup("key") or ENTRY).body == b"anew"
    await there.aclose()


async def generate(put: Put) -> None:
    put(Reply(b"anew", 1, 1, "stop"))
