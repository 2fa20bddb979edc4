"""Limits over several replicas and a real server, which freezes, dies and comes back."""

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from deployments.config import KeyLimitSettings
from deployments.errors import HistoryUnavailable
from deployments.infra.redis.errors import StoreError
from deployments.keys.types import KeyLimits
from deployments.limits.limiter import Admission, Limiter
from deployments.limits.remote import RedisLimits
from deployments.limits.store import Demand
from tests.valkey import Server

# A busy machine is late by itself: only where the server is frozen does the deadline matter.
PATIENT_S = 5.0
SLOW_MACHINE_S = 1.0
TIMEOUT_S = 0.25


async def no_usage(key_id: str, since: date) -> int:
    return 0


@asynccontextmanager
async def replicas(
    url: str, count: int, lease_s: float = 30.0, timeout_s: float = PATIENT_S
) -> AsyncGenerator[list[Limiter]]:
    namespace = f"test-{secrets.token_hex(4)}"
    settings = KeyLimitSettings.model_construct(timeout_s=timeout_s, lease_s=lease_s)
    limiters = [Limiter(RedisLimits(url, namespace, timeout_s, lease_s), no_usage, settings) for _ in range(count)]
    for limiter in limiters:
        await limiter.open()
    try:
        yield limiters
    finally:
        for limiter in limiters:
            await limiter.aclose()


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


async def admissions(limiters: list[Limiter], limits: KeyLimits, tokens: int, each: int) -> list[Admission]:
    """Ask `each` times at every replica, all at once, and return what was admitted."""
    asked = [limiter.admit("key_a", limits, tokens) for limiter in limiters for _ in range(each)]
    return [admission for admission in await asyncio.gather(*asked) if not admission.is_refused]


@pytest.mark.parametrize(
    ("limits", "tokens", "allowed"),
    [
        (KeyLimits(requests_per_minute=50), 0, 50),
        (KeyLimits(tokens_per_minute=1000), 20, 50),
        (KeyLimits(concurrent_requests=50), 0, 50),
        (KeyLimits(tokens_per_month=1000), 20, 50),
        (KeyLimits(100, 1000, 70, 3000), 20, 50),
    ],
)
async def test_two_replicas_together_never_admit_more_than_allowed(
    valkey_url: str, limits: KeyLimits, tokens: int, allowed: int
) -> None:
    async with replicas(valkey_url, 2) as limiters:
        began = time.monotonic()
        admitted = await admissions(limiters, limits, tokens, 60)
        fills_in = (time.monotonic() - began) * allowed / 60 + 1
        assert not any(limiter.failures for limiter in limiters)
        assert allowed <= len(admitted) <= allowed + fills_in
        if limits.concurrent_requests == allowed or limits.tokens_per_month == 1000:
            assert len(admitted) == allowed


@pytest.mark.parametrize(
    ("limits", "tokens", "allowed"),
    [
        (KeyLimits(requests_per_minute=1_200), 0, 1_200),
        (KeyLimits(tokens_per_minute=120_000), 100, 1_200),
        (KeyLimits(1_200, 240_000, 2_000), 100, 1_200),
    ],
)
async def test_a_busy_key_is_held_exactly_by_replicas_that_keep_blocks_of_it(
    valkey_url: str, limits: KeyLimits, tokens: int, allowed: int
) -> None:
    async with replicas(valkey_url, 2) as limiters:
        began, admitted = time.monotonic(), 0
        for _ in range(100):
            admitted += len(await admissions(limiters, limits, tokens, 10))
        fills_in = (time.monotonic() - began) * allowed / 60 + 1
        assert not any(limiter.failures for limiter in limiters)
        assert allowed <= admitted <= allowed + fills_in


async def test_blocks_return_what_was_not_used_to_the_server(valkey_url: str) -> None:
    limits = KeyLimits(requests_per_minute=12_000, tokens_per_minute=12_000_000, concurrent_requests=160)
    async with replicas(valkey_url, 2) as (one, other):
        began = time.monotonic()
        for admission in [await one.admit("key_a", limits, 1_000) for _ in range(30)]:
            admission.end(10)
        await settled(one)
        assert one._blocks._blocks
        while one._blocks._blocks:
            await asyncio.sleep(0.05)
        await settled(one)
        verdict = (await other.admit("key_a", limits, requests=0, sequences=0)).verdict
        assert 12_000 - 30 <= verdict.remaining_requests <= 12_000 - 30 + (time.monotonic() - began) * 200
        assert verdict.remaining_tokens >= 12_000_000 - 300
        assert len(await admissions([other], KeyLimits(concurrent_requests=160), 0, 170)) == 160


async def test_the_block_of_a_killed_replica_costs_half_a_seconds_worth(valkey_url: str) -> None:
    limits = KeyLimits(requests_per_minute=12_000, concurrent_requests=160)
    async with replicas(valkey_url, 2, lease_s=2.0) as (killed, alive):
        for admission in [await killed.admit("key_a", limits) for _ in range(30)]:
            admission.end(0)
        await settled(killed)
        assert killed._blocks._blocks.pop("key_a").places
        verdict = (await alive.admit("key_a", limits, requests=0, sequences=0)).verdict
        assert verdict.remaining_requests >= 12_000 - 30 - 2 * 100
        assert 140 <= len(await admissions([alive], KeyLimits(concurrent_requests=160), 0, 170)) < 160
        await asyncio.sleep(2.2)
        assert len(await admissions([alive], KeyLimits(concurrent_requests=160), 0, 30)) >= 10


async def test_at_most_so_many_run_at_once_over_replicas(valkey_url: str) -> None:
    running = most = done = 0

    async def request(limiter: Limiter) -> None:
        nonlocal running, most, done
        while (admission := await limiter.admit("key_a", KeyLimits(concurrent_requests=3), 0)).is_refused:
            await asyncio.sleep(0.005)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.003)
        running -= 1
        done += 1
        admission.end(0)

    async with replicas(valkey_url, 2) as limiters:
        await asyncio.wait_for(asyncio.gather(*(request(limiters[number % 2]) for number in range(60))), 20)
    assert (most, done) == (3, 60)


async def test_the_leases_of_a_killed_replica_lapse_and_those_of_the_living_do_not(valkey_url: str) -> None:
    limits = KeyLimits(concurrent_requests=2)
    async with replicas(valkey_url, 2, lease_s=0.9) as (killed, alive):
        await killed.admit("key_a", limits)
        stream = await alive.admit("key_a", limits)
        assert killed._renewer
        killed._renewer.cancel()
        assert (await alive.admit("key_a", limits)).is_refused
        await asyncio.sleep(1.3)
        second = await alive.admit("key_a", limits)
        assert not second.is_refused
        assert (await alive.admit("key_a", limits)).is_refused
        stream.end(0)
        await settled(alive)
        assert not (await alive.admit("key_a", limits)).is_refused


async def settled(limiter: Limiter) -> None:
    if limiter._tasks:
        await asyncio.wait(limiter._tasks)


async def test_the_month_is_told_once_and_a_spent_budget_refuses_everywhere(valkey_url: str) -> None:
    asked: list[tuple[str, date]] = []

    async def used(key_id: str, since: date) -> int:
        asked.append((key_id, since))
        return 900

    limits = KeyLimits(tokens_per_month=1000)
    async with replicas(valkey_url, 2) as (one, other):
        one._month_used = other._month_used = used
        first = await one.admit("key_a", limits, 60)
        assert not first.is_refused
        refused = await other.admit("key_a", limits, 60)
        assert refused.verdict.refused_by == "tokens_per_month"
        first.end(10)
        await settled(one)
        assert not (await other.admit("key_a", limits, 60)).is_refused
        assert [(key, since.day) for key, since in asked] == [("key_a", 1)]


async def test_a_month_that_postgres_cannot_tell_lets_requests_in(valkey_url: str) -> None:
    async def away(key_id: str, since: date) -> int:
        raise HistoryUnavailable

    async with replicas(valkey_url, 1) as (limiter,):
        limiter._month_used = away
        assert not (await limiter.admit("key_a", KeyLimits(tokens_per_month=10), 60)).is_refused


async def test_a_frozen_server_costs_a_moment_then_nothing_and_the_replica_holds_the_limits(server: Server) -> None:
    limits = KeyLimits(requests_per_minute=40, concurrent_requests=100)
    async with replicas(server.url, 1, timeout_s=TIMEOUT_S) as (limiter,):
        for _ in range(10):
            (await limiter.admit("key_a", limits)).end(0)
        await settled(limiter)
        server.signal(signal.SIGSTOP)
        try:
            for _ in range(6):
                began = time.monotonic()
                await limiter.admit("key_a", limits)
                assert time.monotonic() - began < TIMEOUT_S + SLOW_MACHINE_S
            began = time.monotonic()
            rest = await admissions([limiter], limits, 0, 60)
            assert time.monotonic() - began < 60 * TIMEOUT_S / 5, "none of them waits"
            # Ten were taken while the server answered, six since; two seconds at most have filled in.
            assert 40 - 10 - 6 <= len(rest) <= 40 - 10 - 6 + 2
            assert limiter.failures["timeout"] >= 5 and limiter.failures["breaker_open"] >= 50
        finally:
            server.signal(signal.SIGCONT)


async def test_a_killed_server_is_bridged_and_taken_up_again_with_the_running_requests(server: Server) -> None:
    limits = KeyLimits(concurrent_requests=2)
    async with replicas(server.url, 2, lease_s=0.9) as (one, other):
        stream = await one.admit("key_a", limits)
        server.kill()
        here = await one.admit("key_a", limits)
        assert not here.is_refused
        assert (await one.admit("key_a", limits)).is_refused
        assert one.failures["connection"] >= 1
        server.start()
        async with asyncio.timeout(8):
            while not await held(server, 2):
                await asyncio.sleep(0.05)
        assert (await other.admit("key_a", limits)).is_refused
        assert not other.failures
        stream.end(0)
        here.end(0)


async def held(server: Server, count: int) -> bool:
    """Whether the server holds so many leases of the key."""
    raw = Redis.from_url(server.url)
    try:
        names = [name async for name in raw.scan_iter(match="*key_a*leases")]
        return bool(names) and await raw.zcard(names[0]) == count
    finally:
        await raw.aclose()


async def test_what_a_lost_replica_had_admitted_is_held_and_settled_by_another(valkey_url: str) -> None:
    limits = KeyLimits(tokens_per_minute=600, concurrent_requests=3, tokens_per_month=10_000)
    async with replicas(valkey_url, 3, lease_s=0.9) as (lost, heir, other):
        admission = await lost.admit("key_a", limits, 500, sequences=2)
        record = orjson.loads(orjson.dumps(admission.record()))
        assert lost._renewer
        lost._renewer.cancel()
        await asyncio.sleep(0.5)
        resumed = heir.resume(record)
        await asyncio.sleep(0.9)  # the lease of the lost replica has lapsed by now
        assert (await other.admit("key_a", limits, sequences=2)).verdict.refused_by == "concurrent_requests"
        assert (await other.admit("key_a", limits, requests=0, sequences=0)).verdict.remaining_tokens < 150
        resumed.end(30)
        resumed.end(30)
        await settled(heir)
        assert not (await other.admit("key_a", limits, sequences=3)).is_refused
        left = (await other.admit("key_a", limits, requests=0, sequences=0)).verdict.remaining_tokens
        assert 560 <= left <= 600


async def test_what_is_left_to_another_replica_is_neither_settled_nor_renewed_here(valkey_url: str) -> None:
    limits = KeyLimits(tokens_per_minute=600, concurrent_requests=1)
    async with replicas(valkey_url, 2, lease_s=0.9) as (one, other):
        admission = await one.admit("key_a", limits, 500)
        admission.leave()
        admission.end(0)
        await settled(one)
        verdict = (await other.admit("key_a", limits, 1)).verdict
        assert (verdict.refused_by, verdict.remaining_tokens < 150) == ("concurrent_requests", True)
        await asyncio.sleep(1.2)
        assert not (await other.admit("key_a", limits, 1)).is_refused


async def test_a_settlement_that_fails_is_dropped_and_told(server: Server) -> None:
    limits = KeyLimits(tokens_per_minute=100)
    async with replicas(server.url, 1) as (limiter,):
        admission = await limiter.admit("key_a", limits, 10)
        server.kill()
        admission.end(50)
        admission.end(50)
        await settled(limiter)
        assert limiter.failures["connection"] == 1
        assert (await limiter._local.admit(demand(limits))).remaining_tokens <= 51


def demand(limits: KeyLimits) -> Demand:
    return Demand("key_a", limits, 1, 0, "", "2026-11")


async def test_nothing_but_store_errors_comes_out_of_a_dead_server(server: Server) -> None:
    store = RedisLimits(server.url, "test", 1.0, 30.0)
    server.kill()
    asked = demand(KeyLimits(1, 1, 1, 1))
    for call in (store.admit(asked), store.settle(asked, 0, 0, 1), store.renew({"key_a": ["x"]})):
        with pytest.raises(StoreError):
            await call
    await store.aclose()


async def test_a_cluster_holds_limits_too(tmp_path: Path) -> None:
    server = Server(tmp_path, "--cluster-enabled", "yes")
    raw = Redis.from_url(server.url)
    try:
        await raw.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with asyncio.timeout(10):
            while b"cluster_state:ok" not in await raw.execute_command("CLUSTER", "INFO"):
                await asyncio.sleep(0.05)
        async with replicas(f"redis+cluster://127.0.0.1:{server.port}", 2) as limiters:
            for limiter in limiters:  # a cluster's map is read with the first call
                await limiter.admit("key_b", KeyLimits(concurrent_requests=5))
            admitted = await admissions(limiters, KeyLimits(concurrent_requests=5, tokens_per_minute=1000), 10, 10)
            assert [dict(limiter.failures) for limiter in limiters] == [{}, {}]
            assert len(admitted) == 5
            admitted[0].end(10)
            await settled(limiters[0])
            await settled(limiters[1])
            assert len(await admissions(limiters, KeyLimits(concurrent_requests=5), 10, 10)) == 1
    finally:
        await raw.aclose()
        server.kill()
