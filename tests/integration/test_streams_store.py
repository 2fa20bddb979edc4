"""The promises of streams' logs, kept by those in Redis and by those in memory alike."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from deployments.infra.redis.client import connect
from deployments.streams.memory import MemoryStreams
from deployments.streams.positions import Numbering, last_position
from deployments.streams.remote import RedisStreams
from deployments.streams.store import Batch, NewLog, StreamName, StreamStore

NAME = StreamName.of("tenant", "stream_one")
OWNER, OTHER = b"\x00owner", b"\xffother"
TTL_S = 20.0


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[StreamStore]:
    if request.param == "memory":
        store: StreamStore = MemoryStreams()
    else:
        store = RedisStreams(request.getfixturevalue("valkey_url"), f"test-{secrets.token_hex(4)}", 5.0)
    yield store
    await store.aclose()


def log(name: StreamName = NAME, **changed: Any) -> NewLog:
    return NewLog(
        **{
            "name": name,
            "key_id": "key_a",
            "owner": OWNER,
            "request": b"what was asked",
            "ttl_s": TTL_S,
            "max_of_key": 3,
            **changed,
        }
    )


def batch(numbering: Numbering, events: int = 2, **changed: Any) -> Batch:
    frames = numbering.add(b"data: {}\n\n" * events)
    return Batch(
        **{
            "name": NAME,
            "key_id": "key_a",
            "owner": OWNER,
            "frames": frames,
            "end": last_position(frames).number + 1,
            "ttl_s": TTL_S,
            **changed,
        }
    )


async def test_what_is_appended_is_read_in_its_order(store: StreamStore) -> None:
    assert await store.open(log())
    numbering = Numbering()
    batches = [batch(numbering) for _ in range(3)]
    for one in batches:
        assert await store.append([one]) == ["running"]
    found = await store.read(NAME)
    assert found and (found.owner, found.state, found.request) == (OWNER, "running", b"what was asked")
    assert list(found.frames) == [one.frames for one in batches]


async def test_what_is_there_is_not_appended_again(store: StreamStore) -> None:
    await store.open(log())
    numbering = Numbering()
    first, second = batch(numbering), batch(numbering)
    assert await store.append([first, second, second, first]) == ["running"] * 4
    found = await store.read(NAME)
    assert found and list(found.frames) == [first.frames, second.frames]


async def test_an_ended_stream_keeps_its_events_and_not_its_request(store: StreamStore) -> None:
    await store.open(log())
    one = batch(Numbering(), is_last=True)
    await store.append([one])
    found = await store.read(NAME)
    assert found and (found.state, found.request, list(found.frames)) == ("ended", b"", [one.frames])
    assert await store.take(NAME, OWNER, OTHER) == b""


async def test_an_ended_stream_that_lacks_its_last_events_is_gone(store: StreamStore) -> None:
    await store.open(log())
    numbering = Numbering()
    await store.append([batch(numbering)])
    await store.append([batch(numbering, frames=b"", is_last=True)])
    assert await store.read(NAME) is None


async def test_an_end_without_events_ends_a_whole_stream(store: StreamStore) -> None:
    await store.open(log())
    one = batch(Numbering())
    await store.append([one])
    await store.append([replace(one, frames=b"", is_last=True)])
    found = await store.read(NAME)
    assert found and (found.state, list(found.frames)) == ("ended", [one.frames])


@pytest.mark.parametrize("evicted", ["the hash", "the log"])
async def test_what_redis_evicts_of_a_stream_is_not_read_as_the_whole(valkey_url: str, evicted: str) -> None:
    namespace = f"test-{secrets.token_hex(4)}"
    store, client = RedisStreams(valkey_url, namespace, 5.0), connect(valkey_url, 5.0)
    await store.open(log())
    numbering = Numbering()
    first, last = batch(numbering), batch(numbering, is_last=True)
    await store.append([first])
    key = f"{namespace}:streams:{{{NAME.tenant}}}:{NAME.stream}"
    assert await client.delete(key if evicted == "the hash" else f"{key}:log") == 1
    heard = await store.append([last])
    if heard == ["missing"]:
        whole = replace(last, frames=first.frames + last.frames)
        await store.open(log())
        await store.append([whole])
        found = await store.read(NAME)
        assert found and list(found.frames) == [whole.frames]
    else:
        assert await store.read(NAME) is None
        await client.delete(f"{key}:log")
        assert await store.read(NAME) is None
    await store.aclose()
    await client.aclose()


async def test_of_several_who_take_a_lost_stream_one_has_it(store: StreamStore) -> None:
    await store.open(log())
    numbering = Numbering()
    owners = await asyncio.gather(*(store.take(NAME, OWNER, f"replica {at}".encode()) for at in range(5)))
    assert len(set(owners)) == 1
    found = await store.read(NAME)
    assert found and (found.owner, found.losses) == (owners[0], 1)
    assert await store.append([batch(numbering)]) == ["taken"]
    assert await store.append([batch(numbering, owner=owners[0])]) == ["running"]


async def test_a_cancelled_stream_is_gone_and_its_owner_hears_of_it(store: StreamStore) -> None:
    await store.open(log())
    await store.append([batch(Numbering())])
    assert await store.cancel(NAME)
    assert await store.append([batch(Numbering())]) == ["cancelled"]
    found = await store.read(NAME)
    assert found is None or (found.state, list(found.frames)) == ("cancelled", [])
    assert not await store.cancel(NAME)


async def test_a_log_that_nobody_has_is_missing(store: StreamStore) -> None:
    assert await store.read(NAME) is None
    assert await store.append([batch(Numbering())]) == ["missing"]
    assert await store.take(NAME, OWNER, OTHER) == b""
    assert not await store.cancel(NAME)


async def test_a_key_has_so_many_logs_at_once(store: StreamStore) -> None:
    names = [StreamName.of("tenant", f"stream_{at}") for at in range(4)]
    assert [await store.open(log(name, ttl_s=0.3)) for name in names] == [True, True, True, False]
    assert await store.open(log(names[3], key_id="key_b", ttl_s=0.3)), "of another key"
    assert await store.open(log(names[0], ttl_s=0.3)), "the same one again"
    await asyncio.sleep(0.4)
    assert await store.open(log(names[3])), "the others have lapsed"


async def test_a_log_lapses_unless_its_owner_gives_signs_of_life(store: StreamStore) -> None:
    await store.open(log(ttl_s=0.4))
    for _ in range(4):
        await asyncio.sleep(0.2)
        assert await store.append([batch(Numbering(), 0, frames=b"", end=0, ttl_s=0.4)]) == ["running"]
    await asyncio.sleep(0.6)
    assert await store.read(NAME) is None


async def test_names_in_redis_tell_neither_tenant_nor_id(valkey_url: str) -> None:
    namespace = f"test-{secrets.token_hex(4)}"
    store, client = RedisStreams(valkey_url, namespace, 5.0), connect(valkey_url, 5.0)
    await store.open(log())
    await store.append([batch(Numbering())])
    names = [name async for name in client.scan_iter(match=f"{namespace}:*")]
    assert len(names) == 3 and not any(b"tenant" in name or b"stream_one" in name for name in names)
    lives = [await client.pttl(name) for name in names]
    assert all(0 < life <= TTL_S * 1000 for life in lives), lives
    await store.aclose()
    await client.aclose()
