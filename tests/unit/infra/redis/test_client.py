"""Addresses become clients without a connection being opened."""

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from deployments.infra.redis.client import BlockingSentinelPool, connect, hosts_of


def pool_of(client):
    assert isinstance(client, Redis)
    return client.connection_pool


def test_one_server_with_a_password_and_a_database():
    pool = pool_of(connect("redis://me:s%40cret@cache.example:7000/3", 1.5))
    assert isinstance(pool, BlockingConnectionPool)
    expected = {"host": "cache.example", "port": 7000, "db": 3, "username": "me", "password": "s@cret"}
    assert expected.items() <= pool.connection_kwargs.items()
    assert pool.connection_kwargs["socket_timeout"] == pool.connection_kwargs["socket_connect_timeout"] == 1.5


def test_one_server_with_tls():
    pool = pool_of(connect("rediss://cache.example:7000/0?ssl_ca_certs=/ca.pem", 1))
    assert pool.connection_class is SSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize(("scheme", "uses_tls"), [("redis+cluster", False), ("rediss+cluster", True)])
def test_a_cluster_of_several_hosts(scheme, uses_tls):
    client = connect(f"{scheme}://me:secret@one:7000,two:7001?ssl_ca_certs=/ca.pem", 1)
    assert isinstance(client, RedisCluster)
    nodes = {(node.host, node.port) for node in client.nodes_manager.startup_nodes.values()}
    assert nodes == {("one", 7000), ("two", 7001)}
    assert client.connection_kwargs["password"] == "secret"
    assert (client.connection_kwargs.get("connection_class") is SSLConnection) is uses_tls


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [("redis+sentinel", SentinelManagedConnection), ("rediss+sentinel", SentinelManagedSSLConnection)],
)
def test_sentinels_that_name_the_master(scheme, kind):
    url = f"{scheme}://me:secret@one:26379,two/main/2?sentinel_password=other&ssl_ca_certs=/ca.pem"
    pool = pool_of(connect(url, 1.5))
    assert isinstance(pool, BlockingSentinelPool) and pool.connection_class is kind
    assert pool.service_name == "main"
    assert {"db": 2, "username": "me", "password": "secret"}.items() <= pool.connection_kwargs.items()
    assert "sentinel_password" not in pool.connection_kwargs
    options = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in options] == [("one", 26379), ("two", 26379)]
    assert all(one["password"] == "other" and one["socket_timeout"] == 1.5 for one in options)


@pytest.mark.parametrize("place", ["redis://a:1/0", "redis+sentinel://a:1/main"])
def test_an_option_of_the_address_holds_over_our_own(place):
    pool = pool_of(connect(f"{place}?max_connections=32&timeout=7&socket_timeout=3", 1))
    assert isinstance(pool, BlockingConnectionPool)
    assert (pool.max_connections, pool.timeout, pool.connection_kwargs["socket_timeout"]) == (32, 7, 3)
    assert pool.connection_kwargs["socket_connect_timeout"] == 1


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis+cluster://a", [("a", 6379)]),
        ("redis+sentinel://a,b:1/x", [("a", 26379), ("b", 1)]),
        ("redis+cluster://u:p@[::1]:7,[fe80::2]", [("::1", 7), ("fe80::2", 6379)]),
    ],
)
def test_hosts_of_an_address(url, hosts):
    assert hosts_of(url) == hosts


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "redis+other://a",
        "http+cluster://a",
        "redis+sentinel://a:1",
        "redis+cluster://a:b",
        "redis+cluster://",
        "a:6379",
    ],
)
def test_what_is_no_address(url):
    with pytest.raises(ValueError):
        connect(url, 1)
