"""Limits in Redis or Valkey, where all replicas share them; each decision is one script, which runs alone."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployments.infra.redis.client import connect
from deployments.infra.redis.errors import translated
from deployments.infra.redis.scripts import Script, Scripts
from deployments.limits.store import RECOUNT_S, Demand, Limit, Rest, Verdict

# Settling and renewing happen behind the answers.
BACKGROUND_TIMEOUT_S = 1.0
REFUSALS: tuple[Limit | None, ...] = (
    None,
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
    "tokens_per_month",
)
ASKS_FOR_MONTH = len(REFUSALS)


ADMIT, SETTLE, RENEW = (Script(Path(__file__).parent / f"{name}.lua") for name in ("admit", "settle", "renew"))


class RedisLimits:
    """The limits' store of all replicas. A decision takes `timeout_s` at most, then it is a `StoreError`.

    A decision that came too late may have been made all the same: it then counts, and its lease lapses by itself.
    """

    def __init__(self, url: str, namespace: str, timeout_s: float, lease_s: float) -> None:
        self._prefix = f"{namespace}:limits:"
        self._timeout_s = timeout_s
        self._lease_ms = max(1, round(lease_s * 1000))
        self._client = connect(url, max(BACKGROUND_TIMEOUT_S, timeout_s))
        # Apart, so that no decision waits behind what has time.
        self._decisions = Scripts(self._client, timeout_s)
        self._background = Scripts(self._client, max(BACKGROUND_TIMEOUT_S, timeout_s))

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
            demand.sequences,
        )
        with translated():
            async with asyncio.timeout(self._timeout_s):
                return _verdict(await self._decisions.run(ADMIT, self._keys(demand.key_id), arguments))

    async def settle(self, demand: Demand, reserved: int, counted_in: int, tokens: int) -> None:
        limits = demand.limits
        arguments = (limits.tokens_per_minute or 0, reserved, tokens, demand.month, demand.tokens, counted_in, 0, 0)
        await self._background.run(SETTLE, self._keys(demand.key_id), (*arguments, *demand.places))

    async def give_back(self, demand: Demand, counted_in: int, rest: Rest) -> None:
        limits = demand.limits
        tokens = (limits.tokens_per_minute or 0, rest.tokens, 0, demand.month, rest.tokens, counted_in)
        requests = (limits.requests_per_minute or 0, rest.requests)
        await self._background.run(SETTLE, self._keys(demand.key_id), (*tokens, *requests, *rest.places))

    async def renew(self, leases: Mapping[str, Sequence[str]]) -> None:
        renewals = [
            self._background.run(RENEW, self._keys(key_id)[1:], (self._lease_ms, *names))
            for key_id, names in leases.items()
        ]
        await asyncio.gather(*renewals)

    async def aclose(self) -> None:
        await self._decisions.aclose()
        await self._background.aclose()
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
