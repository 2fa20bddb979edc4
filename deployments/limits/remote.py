"""Limits in Redis or Valkey, where all replicas share them; each decision is one script, which runs alone."""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, cast

from redis.exceptions import NoScriptError

from deployments.cache.store import connect, translated
from deployments.limits.store import RECOUNT_S, Demand, Limit, Verdict

# Renewing and letting go of connections happen behind the answers.
BACKGROUND_TIMEOUT_S = 1.0
REFUSALS: tuple[Limit | None, ...] = (
    None,
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
    "tokens_per_month",
)
ASKS_FOR_MONTH = len(REFUSALS)


class _Script:
    """A Lua script, sent whole only to a server that does not know it yet."""

    def __init__(self, name: str) -> None:
        self._text = (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")
        self._sha = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Any, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.eval(self._text, len(keys), *keys, *arguments)


class RedisLimits:
    """The limits' store of all replicas. A decision takes `timeout_s` at most, then it is a `StoreError`.

    A decision that came too late may have been made all the same: it then counts, and its lease lapses by itself.
    """

    def __init__(self, url: str, namespace: str, timeout_s: float, lease_s: float) -> None:
        self._prefix = f"{namespace}:limits:"
        self._timeout_s = timeout_s
        self._lease_ms = max(1, round(lease_s * 1000))
        self._client = connect(url, BACKGROUND_TIMEOUT_S)
        self._admit, self._settle, self._renew = _Script("admit"), _Script("settle"), _Script("renew")

    async def admit(self, demand: Demand, month_used: int | None = None) -> Verdict:
        limits = demand.limits
        arguments = (
            limits.requests_per_minute or 0,
            limits.tokens_per_minute or 0,
            limits.concurrent_requests or 0,
            limits.tokens_per_month or 0,
            demand.requests,
            demand.tokens,
            demand.reserved,
            demand.lease,
            self._lease_ms,
            demand.month,
            "" if month_used is None else month_used,
            round(RECOUNT_S * 1000),
        )
        with translated():
            async with asyncio.timeout(self._timeout_s):
                reply = cast("list[int]", await self._admit.run(self._client, self._keys(demand.key_id), arguments))
        return _verdict(reply)

    async def settle(self, demand: Demand, reserved: int, counted_in: int, tokens: int) -> None:
        arguments = (
            demand.limits.tokens_per_minute or 0,
            reserved,
            tokens,
            demand.lease,
            demand.month,
            demand.tokens,
            counted_in,
        )
        with translated():
            async with asyncio.timeout(BACKGROUND_TIMEOUT_S):
                await self._settle.run(self._client, self._keys(demand.key_id), arguments)

    async def renew(self, leases: Mapping[str, Sequence[str]]) -> None:
        with translated():
            async with asyncio.timeout(BACKGROUND_TIMEOUT_S):
                for key_id, names in leases.items():
                    await self._renew.run(self._client, self._keys(key_id)[1:], (self._lease_ms, *names))

    async def aclose(self) -> None:
        with translated():
            await self._client.aclose()

    def _keys(self, key_id: str) -> tuple[str, str]:
        # In braces, so that a cluster keeps both in one place.
        return f"{self._prefix}{{{key_id}}}", f"{self._prefix}{{{key_id}}}:leases"


def _verdict(reply: list[int]) -> Verdict:
    refused_by, wait_ms, requests, reset_requests_ms, tokens, reset_tokens_ms, counted_in = reply
    if refused_by == ASKS_FOR_MONTH:
        return Verdict(asks_for_month=True)
    return Verdict(
        REFUSALS[refused_by],
        wait_ms / 1000,
        requests,
        reset_requests_ms / 1000,
        tokens,
        reset_tokens_ms / 1000,
        counted_in,
    )
