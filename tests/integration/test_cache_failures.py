"""A real server that freezes, dies, fills up or refuses: look-ups are misses in time, and it heals by itself."""

import asyncio
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis

from deployments.cache.claims import Claim, RedisClaims
from deployments.cache.client import CacheClient
from deployments.cache.entry import CacheEntry
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import RedisStore
from deployments.config import CacheSettings
from deployments.infra.redis.errors import StoreError
from tests.valkey import ClusterNode, Server

ENTRY = CacheEntry(b'{"id":"chatcmpl-1","created":5,"choices":[]}', b"", 5.0)
# Half of it is what the test machine may be late itself.
DEADLINE_S = 0.1
LATE_S = 0.8
"""How late a busy machine may be once; whoever waited for Redis itself would wait for a second or more."""
PATIENT_S = 20.0
"""The time-out of tests that are about what the server says, not how soon."""
SETTINGS = CacheSettings(namespace="test")


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
async def client(server):
    async with opened(server.url) as client:
        yield client


@asynccontextmanager
async def opened(url: str, lookup_timeout_s: float = SETTINGS.lookup_timeout_s, write_timeout_s: float = 1.0):
    """Yield a client whose deployment talks to the server; its timeouts are the real ones unless others are given."""
    settings = SETTINGS.model_copy(update={"lookup_timeout_s": lookup_timeout_s})
    store = RedisStore(url, "test", 0.8 * lookup_timeout_s, write_timeout_s)
    client = CacheClient(CacheLookup(settings, store), settings)
    try:
        yield client
    finally:
        await client.aclose()
        await store.aclose()


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@asynccontextmanager
async def listening(handler):
    """Yield the port of a server whose connections end with it."""
    writers = []

    async def handle(reader, writer):
        writers.append(writer)
        with suppress(ConnectionError):
            await handler(reader, writer)

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listener:
        yield listener.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def misses_in_time(client: CacheClient, times: int = 20, deadline_s: float = DEADLINE_S) -> None:
    """Look up unknown keys, one after the other: most must be a miss before the deadline, and none much later."""
    took_s: list[float] = []
    for number in range(times):
        began = time.perf_counter()
        assert await client.lookup(f"{time.time_ns()} {number}") is None
        took_s.append(time.perf_counter() - began)
    assert statistics.median(took_s) < deadline_s
    assert max(took_s) < deadline_s + LATE_S


async def written(client: CacheClient, key: str) -> None:
    """Store an entry and wait until it is in the server."""
    before = client.stored
    client.store(key, ENTRY)
    await eventually(lambda: client.stored > before)


async def heals(client: CacheClient) -> None:
    """Wait until look-ups and answers reach the server again."""
    await reaches(client)
    await written(client, f"{time.time_ns()}")


async def reaches(client: CacheClient) -> None:
    """Wait until look-ups reach the server again: at the latest after the breaker's longest pause."""
    reached = client.misses["absent"]
    async with asyncio.timeout(8):
        while client.misses["absent"] == reached:
            await client.lookup(f"{time.time_ns()}")
            await asyncio.sleep(0.02)


async def test_a_frozen_server_is_a_miss_in_time_and_heals(server, client):
    await written(client, "key")
    await misses_in_time(client)
    before = Counter(client.misses)  # a busy machine was late with some while nothing was wrong
    server.signal(signal.SIGSTOP)
    try:
        await misses_in_time(client, 50)
    finally:
        server.signal(signal.SIGCONT)
    failures = Counter(client.misses) - before
    del failures["absent"]
    assert failures.total() == 50
    assert failures["redis_breaker_open"] > 30
    assert failures.keys() <= {"redis_timeout", "redis_breaker_open", "timeout"}
    await heals(client)


async def test_many_callers_of_a_frozen_server_wait_no_longer(server, client):
    await misses_in_time(client, 1)
    server.signal(signal.SIGSTOP)
    try:
        began = time.perf_counter()
        found = await asyncio.gather(*(client.lookup(f"{number}") for number in range(500)))
        assert time.perf_counter() - began < DEADLINE_S + LATE_S
        assert found == [None] * 500
    finally:
        server.signal(signal.SIGCONT)


async def test_a_killed_server_is_a_miss_and_heals_after_its_restart(server, client):
    await written(client, "key")
    server.kill()
    await misses_in_time(client)
    client.store("lost", ENTRY)
    assert client.misses["redis_connection"] >= 1
    assert client.misses.keys() <= {"redis_connection", "redis_breaker_open"}
    server.start()
    await heals(client)


async def test_a_restart_between_two_lookups_goes_unnoticed(server, client):
    await misses_in_time(client, 5)
    server.kill()
    server.start()
    await misses_in_time(client, 5)
    # A busy machine may take longer than a look-up waits; a broken connection is what must not be seen.
    assert client.misses.total() == 10
    assert client.misses.keys() <= {"absent", "timeout", "redis_timeout"}


async def test_no_server_from_the_beginning_is_a_miss_and_heals(server, client):
    server.kill()
    await misses_in_time(client)
    server.start()
    await heals(client)


async def test_a_server_that_speaks_something_else_is_a_miss():
    async def speak(reader, writer):
        while await reader.read(1000):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n$x\r\n")

    async with listening(speak) as port, opened(f"redis://127.0.0.1:{port}") as client:
        await misses_in_time(client)
        assert client.misses["redis_garbage"] >= 1
        assert client.misses.keys() <= {"redis_garbage", "redis_breaker_open"}


async def test_a_slow_server_is_a_miss_in_time(server):
    """Each answer comes 200 ms late, as over a bad line."""

    async def carry(reader, writer, delay_s):
        while data := await reader.read(65536):
            await asyncio.sleep(delay_s)
            writer.write(data)
        writer.close()

    async def relay(reader, writer):
        below, above = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(carry(reader, above, 0), carry(below, writer, 0.2), return_exceptions=True)
        above.close()

    async with listening(relay) as port, opened(f"redis://127.0.0.1:{port}") as client:
        await misses_in_time(client)
        assert client.misses.keys() <= {"redis_timeout", "redis_breaker_open", "timeout"}


async def test_a_full_server_refuses_writes_and_answers_lookups(tmp_path):
    server = Server(tmp_path, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    try:
        async with opened(server.url) as client:
            async with asyncio.timeout(20):
                while not client.drops["redis_full"]:  # on a busy machine some come too late to be refused
                    dropped = client.drops.total()
                    client.store("refused", ENTRY)
                    await eventually(lambda: client.drops.total() > dropped)  # noqa: B023 - awaited at once
            await misses_in_time(client)
            assert client.stored == 0 and client.misses["absent"]
            assert client.misses.keys() <= {"absent", "timeout", "redis_timeout"}
    finally:
        server.kill()


async def test_a_wrong_password_is_named(tmp_path):
    server = Server(tmp_path, "--requirepass", "right")
    try:
        async with opened(f"redis://:wrong@127.0.0.1:{server.port}", PATIENT_S) as client:
            await misses_in_time(client, 3, PATIENT_S)
            assert client.misses == {"redis_auth": 3}
        async with opened(f"redis://:right@127.0.0.1:{server.port}") as client:
            await written(client, "key")
    finally:
        server.kill()


async def test_a_server_that_may_only_be_read_refuses_writes_and_answers_lookups(tmp_path):
    server = Server(tmp_path, "--replicaof", "127.0.0.1 1")
    try:
        async with opened(server.url, PATIENT_S, PATIENT_S) as client:
            client.store("refused", ENTRY)
            await eventually(lambda: bool(client.drops))
            assert client.drops == {"redis_read_only": 1}
            await misses_in_time(client, 20, PATIENT_S)
            assert client.misses == {"absent": 20}
    finally:
        server.kill()


async def test_a_cluster_of_two(tmp_path):
    """Keys, marks and claims lie on different nodes, and one of them dies."""
    nodes = [ClusterNode(tmp_path, "--cluster-node-timeout", "2000") for _ in range(2)]
    try:
        await joined(nodes)
        url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
        store, claims = RedisStore(url, "test", 5, 5), RedisClaims(url, "test", 5)
        names = [f"{number}" for number in range(50)]
        await store.set_many([(name, name.encode(), 60.0) for name in names])
        assert await store.get_many(["3", "missing", "7"]) == [b"3", None, b"7"]
        assert await store.set_marks({"one": b"x"}, alone=True) == 1
        assert await store.read(names, ["one", "two"]) == (
            [name.encode() for name in names],
            {"one": b"x", "two": None},
        )
        (_, _, owners) = await store.read_or_claim(["3", "missing"], ["one"], [None, Claim("a", b"me")])
        assert owners == [None, None], "claim and answer may lie on different nodes"
        for node in nodes:
            async with Redis(port=node.port) as raw:
                assert 10 < await raw.dbsize() < 41
        for claimer in (b"me", b"other"):
            assert await held(claims, [Claim(name, claimer) for name in names]) == [b"me"] * 50
        nodes[1].kill()
        began = time.perf_counter()
        with pytest.raises(StoreError):
            await store.read(names, ["one"])
        assert time.perf_counter() - began < 5.5
        nodes[1].start()
        async with asyncio.timeout(20):
            while True:
                with suppress(StoreError):
                    await store.set_many([(name, b"again", 60.0) for name in names])
                    break
                await asyncio.sleep(0.1)
        await store.clear("")
        assert await store.get_many(names) == [None] * 50
        await claims.aclose()
        await store.aclose()
    finally:
        for node in nodes:
            node.kill()


async def held(claims: RedisClaims, wanted: list[Claim]) -> list[bytes]:
    """Claim until it is decided: a busy machine's cluster may see itself as down for a moment."""
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreError):
                return await claims.acquire(wanted)
            await asyncio.sleep(0.1)


async def joined(nodes: list[ClusterNode]) -> None:
    """Make a cluster of the nodes, each with its share of the slots."""
    share = 16384 // len(nodes)
    for at, node in enumerate(nodes):
        async with Redis(port=node.port) as raw:
            await raw.execute_command("CLUSTER", "ADDSLOTSRANGE", at * share, (at + 1) * share - 1)
            await raw.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
            for other in nodes[:at]:
                await raw.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
    for node in nodes:
        async with asyncio.timeout(30), Redis(port=node.port) as raw:
            while b"cluster_state:ok" not in await raw.execute_command("CLUSTER", "INFO"):
                await asyncio.sleep(0.05)
