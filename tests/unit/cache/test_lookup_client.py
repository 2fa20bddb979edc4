"""Look-ups by connections, the client: both ends in one event loop, with a handle that counts what goes by it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.handle import DeploymentBroadcastResponse

from deployments.cache import lookup_client
from deployments.cache.claims import Claim
from deployments.cache.client import CacheClient
from deployments.cache.entry import CacheEntry, encode
from deployments.cache.lookup import CacheLookup
from deployments.cache.lookup_client import ConnectedCache
from deployments.cache.lookup_server import LookupServer
from deployments.cache.remote import LookupReply
from deployments.cache.store import MemoryStore
from deployments.config import CacheSettings
from deployments.infra.transport.connection import SECRET_BYTES, Connection
from deployments.infra.transport.framing import HEAD, LOOKUP_REPLY
from deployments.infra.transport.framing import encode as encode_frame
from deployments.infra.transport.server import Address

HOST = "127.0.0.1"
SETTINGS = CacheSettings(lookup_timeout_s=0.05)
ENTRY = CacheEntry(b'{"id":"chatcmpl-1","created":5,"choices":[]}', b"data: {}\n\n", 5.0)


class Replica:
    """A replica that finds the keys themselves; it can be held up."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.value_bytes = 0
        self.tells = True
        self.host = HOST
        self.server = LookupServer(self.lookup)

    async def lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> LookupReply:
        self.calls.append(list(keys))
        await self.gate.wait()
        if self.error:
            raise self.error
        owners = [claim.address if claim else b"" for claim in claims]
        return LookupReply([key.encode().ljust(self.value_bytes, b".") for key in keys], "", owners, "v1")


class Handle:
    """What Serve gives an ingress replica for the deployment."""

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = list(replicas)
        self.lookups = self.broadcasts = 0
        self.lookup = SimpleNamespace(remote=self._lookup)

    async def _lookup(self, keys: Sequence[str], claims: Sequence[Claim | None] = ()) -> LookupReply:
        self.lookups += 1
        return LookupReply([b"by handle"] * len(keys))

    def broadcast(self, method: str) -> Any:
        assert method == "address"
        self.broadcasts += 1

        async def results() -> list[Any]:
            return [SimpleNamespace(get_async=partial(_address, replica)) for replica in self.replicas]

        return DeploymentBroadcastResponse(results(), None)


async def _address(replica: Replica) -> Address:
    if not replica.tells:
        await asyncio.Event().wait()
    return replace(await replica.server.address(HOST), host=replica.host)


@pytest.fixture
def replica() -> Replica:
    return Replica()


@pytest.fixture
def handle(replica: Replica) -> Handle:
    return Handle(replica)


@pytest.fixture
async def cache(handle: Handle, replica: Replica) -> AsyncIterator[ConnectedCache]:
    cache = ConnectedCache(handle)
    yield cache
    await cache.aclose()
    for one in (replica, *handle.replicas):
        one.gate.set()
        await one.server.aclose()


async def connected(cache: ConnectedCache) -> None:
    """Look up until that goes by a connection."""
    for _ in range(200):
        if (await cache.lookup(["up"])).values == [b"up"]:
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_the_first_look_up_goes_by_the_handle_and_those_after_it_do_not(
    cache: ConnectedCache, handle: Handle
) -> None:
    assert (await cache.lookup(["one"])).values == [b"by handle"]
    await connected(cache)
    before = handle.lookups
    claim = Claim("name", b"here", b"lost")
    found = await cache.lookup(["one", "two"], [claim, None])
    assert found == LookupReply([b"one", b"two"], "", [b"here", b""], "v1")
    assert (await cache.lookup([])) == LookupReply([], "", [], "v1")
    assert handle.lookups == before
    assert handle.broadcasts == 1


async def test_who_connects_beforehand_needs_the_handle_for_no_look_up(cache: ConnectedCache, handle: Handle) -> None:
    replicas, handle.replicas = handle.replicas, []
    cache.connect()
    await until(lambda: handle.broadcasts > 1)  # none is there yet
    handle.replicas = replicas
    await until(lambda: cache._replicas)
    assert (await cache.lookup(["one"])).values == [b"one"]
    assert handle.lookups == 0
    count = handle.broadcasts
    await asyncio.sleep(2 * lookup_client.AGAIN_S)
    assert handle.broadcasts == count


async def test_answers_find_their_askers_in_any_order(cache: ConnectedCache, replica: Replica) -> None:
    await connected(cache)
    replica.gate.clear()
    asked = [asyncio.create_task(cache.lookup([str(n)])) for n in range(20)]
    await until(lambda: len(replica.calls) > 20)
    asked[3].cancel()
    replica.gate.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found.pop(3), asyncio.CancelledError)
    assert [f.values[0] for f in found if isinstance(f, LookupReply)] == [str(n).encode() for n in range(20) if n != 3]


async def test_what_a_lost_replica_owes_goes_by_the_handle(
    cache: ConnectedCache, handle: Handle, replica: Replica
) -> None:
    await connected(cache)
    replica.gate.clear()
    asked = asyncio.create_task(cache.lookup(["owed"]))
    await until(lambda: ["owed"] in replica.calls)
    handle.replicas = [Replica()]
    await replica.server.aclose()
    assert (await asked).values == [b"by handle"]
    await connected(cache)
    assert handle.replicas[0].calls
    replica.gate.set()


async def test_a_frozen_replica_is_asked_no_longer(cache: ConnectedCache, handle: Handle, replica: Replica) -> None:
    other = Replica()
    handle.replicas.append(other)
    await connected(cache)
    replica.gate.clear()
    for n in range(200):
        asked = asyncio.create_task(cache.lookup([str(n)]))
        await asyncio.wait([asked], timeout=0.001)
        asked.cancel()
    assert 0 < len(replica.calls) <= lookup_client.MAX_PENDING + 1
    assert len(other.calls) > 100


async def test_with_no_replica_that_answers_the_handle_is_asked(
    cache: ConnectedCache, handle: Handle, replica: Replica
) -> None:
    await connected(cache)
    replica.gate.clear()
    for _ in range(lookup_client.MAX_PENDING):
        asked = asyncio.create_task(cache.lookup(["frozen"]))
        await asyncio.sleep(0)
        asked.cancel()
    assert (await cache.lookup(["next"])).values == [b"by handle"]
    replica.gate.set()
    await connected(cache)


async def test_connections_follow_the_replicas(
    cache: ConnectedCache, handle: Handle, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_client, "REFRESH_S", 0.0)
    await connected(cache)
    handle.replicas = [Replica(), Replica()]
    for _ in range(100):
        await cache.lookup(["x"])
        await asyncio.sleep(0.002)
    before = len(replica.calls)
    await asyncio.gather(*(cache.lookup(["y"]) for _ in range(10)))
    assert len(replica.calls) == before
    assert all(["y"] in replica.calls for replica in handle.replicas)


async def test_replicas_are_asked_in_turn(cache: ConnectedCache, handle: Handle, replica: Replica) -> None:
    handle.replicas += [Replica(), Replica()]
    async with asyncio.timeout(5):
        while not all(["one"] in each.calls for each in handle.replicas):
            await cache.lookup(["one"])
            await asyncio.sleep(0.001)
    for each in handle.replicas:
        each.calls.clear()
    for _ in range(30):
        await cache.lookup(["two"])
    assert [len(each.calls) for each in handle.replicas] == [10, 10, 10]


async def test_a_connection_that_has_gone_silent_is_replaced(
    cache: ConnectedCache, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica is well and tells its address; what is lost is the way there."""
    monkeypatch.setattr(lookup_client, "REFRESH_S", 0.01)
    monkeypatch.setattr(lookup_client, "SILENCE_S", 0.1)
    await connected(cache)
    replica.gate.clear()
    owed = asyncio.create_task(cache.lookup(["owed"]))
    await until(lambda: ["owed"] in replica.calls)
    await asyncio.sleep(0.15)
    asked = asyncio.create_task(cache.lookup(["next"]))
    assert (await asyncio.wait_for(owed, 5)).values == [b"by handle"]
    replica.gate.set()
    await asked
    await connected(cache)


async def test_a_silent_replica_holds_up_no_other(
    cache: ConnectedCache, handle: Handle, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_client, "REFRESH_S", 0.0)
    monkeypatch.setattr(lookup_client, "REFRESH_TIMEOUT_S", 0.1)
    await connected(cache)
    replica.tells = False
    other = Replica()
    handle.replicas.append(other)

    async with asyncio.timeout(10):
        while not (["new"] in other.calls and ["new"] in replica.calls):  # and what was connected stays so
            await cache.lookup(["new"])
            await asyncio.sleep(0.01)

    handle.replicas.remove(other)
    await other.server.aclose()
    async with asyncio.timeout(10):
        while len(cache._replicas) > 1:
            await cache.lookup(["new"])
            await asyncio.sleep(0.01)


async def test_a_replica_that_cannot_be_reached_in_time_holds_up_no_other(
    cache: ConnectedCache, handle: Handle, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def slow(factory: Any, host: str, port: int, ssl: Any) -> Any:
        if host == "192.0.2.1":  # TEST-NET-1: packets to it are dropped
            await asyncio.Event().wait()
        return await connect(factory, host, port, ssl=ssl)

    monkeypatch.setattr(loop, "create_connection", slow)
    monkeypatch.setattr(lookup_client, "REFRESH_TIMEOUT_S", 0.1)
    gone, other = Replica(), Replica()
    gone.host = "192.0.2.1"
    handle.replicas = [gone, other]
    await connected(cache)
    assert other.calls


async def test_replicas_that_do_not_tell_where_they_are_cost_nothing(
    cache: ConnectedCache, handle: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(method: str) -> Any:
        raise RuntimeError(method)

    handle.broadcast = broken  # pyright: ignore[reportAttributeAccessIssue]
    assert (await cache.lookup(["one"])).values == [b"by handle"]
    await until(lambda: "the cache's replicas are unknown" in caplog.text)


def telling(handle: Handle, address: Address) -> None:
    """Let `handle` tell of one replica, at `address`."""

    async def tell() -> Address:
        return address

    async def results() -> list[Any]:
        return [SimpleNamespace(get_async=tell)]

    handle.broadcast = lambda _: DeploymentBroadcastResponse(results(), None)  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_replica_that_cannot_be_reached_leaves_the_handle(
    cache: ConnectedCache, handle: Handle, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    telling(handle, await replica.server.address(HOST))
    await replica.server.aclose()
    await cache.lookup(["one"])
    await until(lambda: "a replica of the cache cannot be reached" in caplog.text)
    assert (await cache.lookup(["two"])).values == [b"by handle"]


async def test_a_look_up_that_raises_costs_its_connection_alone(
    cache: ConnectedCache, handle: Handle, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    await connected(cache)
    replica.error = RuntimeError("a defect")
    assert (await cache.lookup(["one"])).values == [b"by handle"]
    assert "a look-up failed" in caplog.text
    replica.error = None
    await connected(cache)


async def test_a_client_finds_through_it_what_another_one_stored() -> None:
    lookup = CacheLookup(SETTINGS, MemoryStore())
    server = LookupServer(lookup.lookup)
    handle = Handle()
    handle.replicas = [SimpleNamespace(server=server, tells=True, host=HOST)]  # pyright: ignore[reportAttributeAccessIssue]
    await lookup.store([("key", encode(ENTRY), 60.0)])
    cache = ConnectedCache(handle)
    client = CacheClient(cache, CacheSettings(lookup_timeout_s=1.0, hot_bytes=0))
    async with asyncio.timeout(5):
        while await client.lookup("key") != ENTRY:
            await asyncio.sleep(0.01)
    claim = Claim("flight", b"me")
    assert (await client.lookup_or_claim("other", claim)).owner == b"me"
    await client.aclose()
    await server.aclose()


async def test_a_connection_that_is_lost_before_it_is_known_is_not_kept(
    cache: ConnectedCache, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup_client, "REFRESH_S", 0.01)
    get, lost = cache._pool.get, list[Connection]()

    async def get_and_lose(address: Address) -> Connection:
        connection = await get(address)
        connection.abort()
        await asyncio.sleep(0.01)  # it hears that it is lost
        lost.append(connection)
        return connection

    monkeypatch.setattr(cache._pool, "get", get_and_lose)
    async with asyncio.timeout(5):
        while len(lost) < 3:
            await cache.lookup(["one"])
            await asyncio.sleep(0.01)
    assert not cache._by_connection and not cache._replicas
    monkeypatch.setattr(cache._pool, "get", get)
    await connected(cache)


async def test_an_answer_that_is_none_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(SECRET_BYTES + HEAD.size)
        writer.write(encode_frame(bytes(16), LOOKUP_REPLY, b"\xc1"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, HOST, 0)
    handle = Handle()
    telling(handle, Address(HOST, server.sockets[0].getsockname()[1], b"s" * SECRET_BYTES))
    cache = ConnectedCache(handle)
    for _ in range(20):
        assert (await asyncio.wait_for(cache.lookup(["one"]), 5)).values == [b"by handle"]
        await asyncio.sleep(0.005)
    assert "is not a replica's frame" in caplog.text
    await cache.aclose()
    server.close()
