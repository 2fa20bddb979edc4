"""Who generates an answer right now: a claim on its name, held by the address of an ingress replica.

A claim is made by whoever finds nobody there, renewed while the answer is being
generated, and lapses by itself soon after. One that is in the hands of a lost
replica is taken over by naming that replica: of several who try, one succeeds.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis, RedisCluster

from deployments.cache.expiring import ExpiringMap
from deployments.infra.redis.client import connect
from deployments.infra.redis.errors import translated

CLAIM_TTL_S = 5.0
SCRIPT = (Path(__file__).parent / "claim.lua").read_text(encoding="utf-8")


class Claim(NamedTuple):
    """What an ingress replica wants: to hold `name` under `address`, in place of nobody or of `lost`."""

    name: str
    address: bytes
    lost: bytes = b""

    def since(self, version: str) -> "Claim":
        """Return the claim on the generation that begins at this version of all purges."""
        return self._replace(name=name_since(self.name, version))


def name_since(name: str, version: str) -> str:
    """Return the name of a generation that begins at this version of all purges: after a purge it is another one."""
    return f"{name}@{version}"


def claim_call(
    namespace: str, claim: Claim, unless: str = "", ttl_s: float = CLAIM_TTL_S
) -> tuple[str | bytes | int, ...]:
    """Return the arguments of the EVAL that claims, unless there is something under the name `unless` in Redis.

    It brings who holds the name now, or None.
    """
    names = [f"{namespace}:inflight:{claim.name}", *([unless] if unless else [])]
    return SCRIPT, len(names), *names, claim.address, claim.lost, round(ttl_s * 1000)


class Claims(Protocol):
    """The claims of all replicas."""

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        """Return who holds each name now; for the caller's own claim that is a renewal. Raises StoreError."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class MemoryClaims:
    """The claims of tests and single processes."""

    def __init__(self, ttl_s: float = CLAIM_TTL_S) -> None:
        self._ttl_s = ttl_s
        self._held: ExpiringMap[bytes] = ExpiringMap(16 * 1024 * 1024)

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        return [self._hold(claim) for claim in claims]

    def _hold(self, claim: Claim) -> bytes:
        owner = self._held.get(claim.name)
        if owner is not None and owner not in (claim.address, claim.lost):
            return owner
        self._held.put(claim.name, claim.address, len(claim.address), self._ttl_s)
        return claim.address

    async def aclose(self) -> None: ...


class RedisClaims:
    """The claims in Redis or Valkey, each decided by a script, which runs alone."""

    def __init__(self, url: str, namespace: str, timeout_s: float, ttl_s: float = CLAIM_TTL_S) -> None:
        self._namespace = namespace
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._client: Redis | RedisCluster = connect(url, timeout_s)

    async def acquire(self, claims: Sequence[Claim]) -> list[bytes]:
        calls = [claim_call(self._namespace, claim, ttl_s=self._ttl_s) for claim in claims]
        with translated():
            async with asyncio.timeout(self._timeout_s):
                return await self._run(calls)

    async def _run(self, calls: Sequence[tuple[Any, ...]]) -> list[bytes]:
        client: Any = self._client
        if isinstance(client, RedisCluster):  # the keys lie on different servers
            return await asyncio.gather(*(client.execute_command("EVAL", *call) for call in calls))
        pipeline = client.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command("EVAL", *call)
        return await pipeline.execute()

    async def aclose(self) -> None:
        with translated():
            await self._client.aclose()
