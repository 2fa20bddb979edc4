"""A real sentinel, the server that it calls the master, and one that takes its place."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import RedisStore
from deployments.config import CacheSettings
from deployments.infra.redis.errors import StoreError
from deployments.keys.types import KeyLimits
from deployments.limits.remote import RedisLimits
from deployments.limits.store import Demand
from tests.integration.test_cache_failures import ENTRY, heals, misses_in_time, written
from tests.valkey import Sentinel, Server

SETTINGS = CacheSettings(namespace="sentinel", lookup_timeout_s=0.5)


@dataclass
class Guarded:
    """Two servers, the sentinel that watches them, and the service's address for the one that is the master."""

    servers: list[Server]
    sentinel: Sentinel
    url: str

    async def told(self, *command: str) -> object:
        async with Redis(port=self.sentinel.port, password="watch") as raw:
            return await raw.execute_command("SENTINEL", *command)

    async def master(self) -> int:
        """Return the port of the server that the sentinel calls the master."""
        found = await self.told("GET-MASTER-ADDR-BY-NAME", "main")
        assert isinstance(found, list)
        return int(found[1])


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncGenerator[Guarded]:
    options = ("--requirepass", "secret", "--masterauth", "secret", "--repl-diskless-sync-delay", "0")
    first = Server(tmp_path, *options)
    second = Server(tmp_path, *options, "--replicaof", f"127.0.0.1 {first.port}")
    async with asyncio.timeout(20):
        while not await replicates(second):
            await asyncio.sleep(0.05)
    sentinel = Sentinel(
        tmp_path,
        first.port,
        "sentinel auth-pass main secret",
        "sentinel down-after-milliseconds main 500",
        "sentinel failover-timeout main 3000",
        "requirepass watch",
    )
    url = f"redis+sentinel://:secret@127.0.0.1:{sentinel.port}/main/0?sentinel_password=watch"
    found = Guarded([first, second], sentinel, url)
    async with asyncio.timeout(20):
        while not await found.told("REPLICAS", "main"):
            await asyncio.sleep(0.05)
    yield found
    for server in (sentinel, first, second):
        server.kill()


async def replicates(server: Server) -> bool:
    async with Redis(port=server.port, password="secret") as raw:
        return (await raw.info("replication")).get("master_link_status") == "up"


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[CacheClient]:
    store = RedisStore(url, SETTINGS.namespace, 0.8 * SETTINGS.lookup_timeout_s, 1.0)
    client = CacheClient(CacheLookup(SETTINGS, store), SETTINGS)
    yield client
    await client.aclose()
    await store.aclose()


async def moved(guarded: Guarded) -> None:
    """Wait until the other server is the master."""
    first = guarded.servers[0].port
    async with asyncio.timeout(30):
        while await guarded.master() == first:
            await asyncio.sleep(0.05)


async def test_a_killed_master_is_replaced_and_what_was_stored_is_found(guarded: Guarded) -> None:
    async with opened(guarded.url) as client:
        await written(client, "before")
        assert await guarded.master() == guarded.servers[0].port
        async with Redis(port=guarded.servers[0].port, password="secret") as raw:
            assert await raw.wait(1, 5000) == 1  # the other server has it too
        guarded.servers[0].kill()
        await misses_in_time(client, 5, 2 * SETTINGS.lookup_timeout_s)
        assert client.misses.keys() <= {"redis_connection", "redis_timeout", "redis_breaker_open", "timeout"}
        await moved(guarded)
        await heals(client)
        client.memory.clear()
        assert await client.lookup("before") == ENTRY
        await written(client, "after")
    async with Redis(port=guarded.servers[1].port, password="secret") as raw:
        assert await raw.exists("sentinel:before", "sentinel:after") == 2


async def test_a_master_that_hands_over_is_left_for_the_new_one(guarded: Guarded) -> None:
    """Its connections stay open and answer look-ups: it is the first write that tells."""
    async with opened(guarded.url) as client:
        await written(client, "before")
        async with asyncio.timeout(30):
            while await guarded.master() == guarded.servers[0].port:
                with suppress(ResponseError):  # it does not know the other one well enough yet, or has begun
                    await guarded.told("FAILOVER", "main")
                await asyncio.sleep(0.1)
        async with asyncio.timeout(30):
            while not await replicates(guarded.servers[0]):
                await asyncio.sleep(0.05)
        stored = client.stored
        async with asyncio.timeout(10):
            while client.stored == stored:
                client.store("after", ENTRY)
                await asyncio.sleep(0.1)
    async with Redis(port=guarded.servers[1].port, password="secret") as raw:
        assert await raw.exists("sentinel:after") == 1
        assert (await raw.role())[0] == b"master"


async def test_limits_and_scripts_follow_the_master(guarded: Guarded) -> None:
    limits = RedisLimits(guarded.url, "sentinel", 2, 30)
    assert not (await limits.admit(demand())).refused_by
    guarded.servers[0].kill()
    await moved(guarded)
    async with asyncio.timeout(10):
        while True:
            try:
                assert not (await limits.admit(demand())).refused_by
                break
            except StoreError:
                await asyncio.sleep(0.05)
    await limits.aclose()


def demand() -> Demand:
    return Demand("key_1", KeyLimits(requests_per_minute=100), 1, 1, "lease", "2026-11")


@pytest.mark.parametrize(
    ("change", "kind"),
    [(("sentinel_password=watch", "sentinel_password=no"), "connection"), ((":secret@", ":no@"), "auth")],
)
async def test_a_wrong_password_is_named(guarded: Guarded, change: tuple[str, str], kind: str) -> None:
    store = RedisStore(guarded.url.replace(*change), "sentinel", 2, 2)
    with pytest.raises(StoreError) as error:
        await store.get_many(["key"])
    assert error.value.kind == kind
    await store.aclose()


async def test_no_sentinel_is_a_miss_in_time() -> None:
    async with opened("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main") as client:
        await misses_in_time(client, 8, 2 * SETTINGS.lookup_timeout_s)
        assert client.misses.keys() == {"redis_connection", "redis_breaker_open"}


async def test_a_service_that_no_sentinel_knows(guarded: Guarded) -> None:
    store = RedisStore(guarded.url.replace("/main/", "/other/"), "sentinel", 2, 2)
    with pytest.raises(StoreError) as error:
        await store.get_many(["key"])
    assert error.value.kind == "connection"
    await store.aclose()
