"""Redis behind TLS: the server, a cluster, and what a sentinel names. Valkey's wheel speaks none itself."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deployments.cache.claims import Claim, RedisClaims
from deployments.cache.store import RedisStore
from deployments.infra.redis.errors import StoreError
from tests.integration.test_cache_failures import misses_in_time, opened
from tests.tls import certified, terminated
from tests.valkey import ClusterNode, Sentinel, Server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certified(tmp_path)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[Server]:
    server = Server(tmp_path, "--requirepass", "secret")
    yield server
    server.kill()


async def kept_and_found(url: str) -> None:
    """Use everything that the cache asks of Redis."""
    store, claims = RedisStore(url, "tls", 5, 5), RedisClaims(url, "tls", 5)
    await store.set_many([(f"{number}", b"%d" % number, 60.0) for number in range(20)])
    assert await store.get_many(["3", "missing", "7"]) == [b"3", None, b"7"]
    assert await store.add_mark("one", b"x") == b"x"
    assert await store.read(["3"], ["one"]) == ([b"3"], {"one": b"x"})
    assert await claims.acquire([Claim("a", b"me")]) == [b"me"]
    await store.clear("")
    assert await store.get_many(["3"]) == [None]
    await claims.aclose()
    await store.aclose()


async def kind_of_failure(url: str) -> str:
    store = RedisStore(url, "tls", 2, 2)
    with pytest.raises(StoreError) as error:
        await store.get_many(["key"])
    await store.aclose()
    return error.value.kind


async def test_one_server(server: Server, certificate: Path) -> None:
    async with terminated(certificate, server.port) as port:
        await kept_and_found(f"rediss://:secret@127.0.0.1:{port}/0?ssl_ca_certs={certificate}")


async def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server, certificate: Path) -> None:
    async with terminated(certificate, server.port) as port:
        assert await kind_of_failure(f"rediss://:secret@127.0.0.1:{port}/0") == "connection"


async def test_a_certificate_of_another_address_is_refused(server: Server, tmp_path: Path) -> None:
    certificate = certified(tmp_path, "127.0.0.2")
    async with terminated(certificate, server.port) as port:
        url = f"rediss://:secret@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        assert await kind_of_failure(url) == "connection"
        await kept_and_found(f"{url}&ssl_check_hostname=false")


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_one_side_alone_that_speaks_tls_is_a_miss_in_time(server: Server, certificate: Path, scheme: str) -> None:
    async with terminated(certificate, server.port) as port:
        port = port if scheme == "redis" else server.port
        async with opened(f"{scheme}://:secret@127.0.0.1:{port}/0") as client:
            await misses_in_time(client, 8, 0.5)
            # What TLS says to a client without it is garbage, if it is read before the connection ends.
            kinds = {"redis_connection", "redis_timeout", "redis_garbage", "redis_breaker_open", "timeout"}
            assert client.misses.keys() <= kinds


async def test_a_cluster(tmp_path: Path, certificate: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        public = free.getsockname()[1]
    announced = ("--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", str(public))
    server = ClusterNode(tmp_path, *announced)
    async with Redis(port=server.port) as raw:
        await raw.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with asyncio.timeout(20):
            while b"cluster_state:ok" not in await raw.execute_command("CLUSTER", "INFO"):
                await asyncio.sleep(0.05)
    async with terminated(certificate, server.port, public):
        await kept_and_found(f"rediss+cluster://127.0.0.1:{public}?ssl_ca_certs={certificate}")
    server.kill()


async def test_a_sentinel_and_the_master_that_it_names(server: Server, tmp_path: Path, certificate: Path) -> None:
    """It names the port that speaks TLS, which it cannot ask itself: so it must not mind that for long."""
    async with terminated(certificate, server.port) as master:
        sentinel = Sentinel(tmp_path, master, "sentinel down-after-milliseconds main 600000")
        async with terminated(certificate, sentinel.port) as port:
            await kept_and_found(f"rediss+sentinel://:secret@127.0.0.1:{port}/main/0?ssl_ca_certs={certificate}")
        sentinel.kill()
