"""From an address to a client: one server, a cluster, or whatever Sentinel calls the master.

    redis://[user:password@]host:port/db                             rediss:// with TLS
    redis+cluster://[user:password@]host:port,host:port              rediss+cluster:// with TLS
    redis+sentinel://[user:password@]host:port,host:port/service/db  rediss+sentinel:// with TLS

redis-py's own options may follow as a query (`?ssl_ca_certs=/path`). In an address
of Sentinel, user and password are the master's; those of the sentinels stand in
`sentinel_username` and `sentinel_password`.
"""

import asyncio
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import exceptions as lower
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

MAX_CONNECTIONS = 16
DEFAULT_PORTS = {"redis": 6379, "cluster": 6379, "sentinel": 26379}
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}


class BlockingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to Sentinel's master; past their number, callers wait for one as with a single server."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, and with those in use, which is the end, those to the sentinels as well."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await asyncio.gather(*(sentinel.aclose() for sentinel in self.sentinel_manager.sentinels))


def connect(url: str, timeout_s: float) -> "Redis | RedisCluster":
    """Return a client that connects with its first call; no step of a call takes longer than `timeout_s`.

    Raises ValueError for an address that is none.
    """
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    deadlines = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    if kind and (kind not in DEFAULT_PORTS or scheme not in ("redis", "rediss")):
        raise ValueError("a Redis address begins with redis:// or rediss://, with +cluster or +sentinel in between")
    if kind == "cluster":
        return _cluster(url, deadlines)
    # One repetition heals a connection that the server closed while it lay in the pool.
    pooled = {
        **deadlines,
        "max_connections": MAX_CONNECTIONS,
        "timeout": timeout_s,
        "retry": Retry(NoBackoff(), 1, supported_errors=(lower.ConnectionError,)),
    }
    if kind == "sentinel":
        return _sentinel(url, deadlines, pooled)
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **pooled))


def _cluster(url: str, deadlines: dict[str, float]) -> RedisCluster:
    options: dict[str, Any] = {**deadlines, **_options(url)}
    options.pop("db", None)
    nodes = [ClusterNode(host, port) for host, port in hosts_of(url)]
    return RedisCluster(startup_nodes=nodes, **options)


def _sentinel(url: str, deadlines: dict[str, float], pooled: dict[str, Any]) -> Redis:
    service, _, database = urlsplit(url).path.strip("/").partition("/")
    if not service:
        raise ValueError("an address of Sentinel names its service: redis+sentinel://host:port/service")
    options = _options(url)
    own = {name: options.pop(option) for option, name in SENTINEL_OPTIONS.items() if option in options}
    if options.get("ssl"):
        own |= {name: value for name, value in options.items() if name.startswith("ssl")}
    # Sentinels are tried in turn: redis-py's own repetitions, with their pauses, would outlast the deadline.
    manager = Sentinel(hosts_of(url), sentinel_kwargs={**deadlines, "retry": pooled["retry"], **own})
    options["db"] = int(database or 0)
    return Redis.from_pool(BlockingSentinelPool(unquote(service), manager, **(pooled | options)))


def hosts_of(url: str) -> list[tuple[str, int]]:
    """Return the hosts and ports that an address lists."""
    parts = urlsplit(url)
    default = DEFAULT_PORTS[parts.scheme.partition("+")[2] or "redis"]
    found: list[tuple[str, int]] = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        host, colon, port = place.rpartition(":")
        if not colon or place.endswith("]"):
            host, port = place, str(default)
        if not host or not port.isdigit():
            raise ValueError("each host of a Redis address is written host:port")
        found.append((host.strip("[]"), int(port)))
    return found


def _options(url: str) -> dict[str, Any]:
    """Return what an address says beside its hosts and its path, as redis-py reads it."""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    account = parts.netloc.rpartition("@")[0]
    place = f"{account}@host" if account else "host"
    options = cast("dict[str, Any]", dict(parse_url(f"{scheme}://{place}/?{urlencode(parse_qsl(parts.query))}")))
    options.pop("host")
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    return options
