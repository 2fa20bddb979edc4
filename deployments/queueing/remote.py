"""Shares of models' capacity in Redis or Valkey, where all ingress replicas have them."""

import asyncio
from pathlib import Path

from deployments.infra.redis.client import connect
from deployments.infra.redis.errors import translated
from deployments.queueing.shares import Share

TIMEOUT_S = 0.5
LEASE_S = 5.0
RENEW = (Path(__file__).parent / "shares.lua").read_text(encoding="utf-8")


class RedisCapacity:
    """The store of all replicas; no call takes longer than half a second, then it is a `StoreError`."""

    def __init__(self, url: str, namespace: str, lease_s: float = LEASE_S) -> None:
        self._prefix = f"{namespace}:places:"
        self._lease_ms = round(lease_s * 1000)
        self._client = connect(url, TIMEOUT_S)
        self._renew = self._client.register_script(RENEW)

    async def renew(self, model: str, replica: str, capacity: int, wanted: int, filled: int) -> Share:
        with translated():
            async with asyncio.timeout(TIMEOUT_S):
                arguments = [replica, capacity, wanted, filled, self._lease_ms]
                return Share(int(await self._renew(keys=[self._key(model)], args=arguments)), capacity)

    async def release(self, model: str, replica: str) -> None:
        with translated():
            async with asyncio.timeout(TIMEOUT_S):
                await self._client.hdel(self._key(model), replica)

    async def aclose(self) -> None:
        with translated():
            await self._client.aclose()

    def _key(self, model: str) -> str:
        return f"{self._prefix}{{{model}}}"
