"""Blocks of limits: replicas that hold some admit no more than allowed, and return what they did not use."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.config import KeyLimitSettings
from deployments.keys.types import KeyLimits
from deployments.limits.blocks import BLOCK_S, BUSY, Block, block_demand
from deployments.limits.limiter import Admission, Limiter
from deployments.limits.memory import MemoryLimits
from deployments.limits.store import Demand, Verdict

MONTH = "2026-11"
BIG = KeyLimits(requests_per_minute=2_400, tokens_per_minute=240_000)


class CountingStore(MemoryLimits):
    """What all replicas share, with the number of decisions that it was asked for."""

    def __init__(self) -> None:
        super().__init__(30.0)
        self.decisions = 0

    async def admit(self, demand: Demand, month_used: int | None = None) -> Verdict:
        self.decisions += 1
        await asyncio.sleep(0)  # as a round trip lets others go on
        return await super().admit(demand, month_used)

    async def aclose(self) -> None: ...


@asynccontextmanager
async def replicas(store: CountingStore, count: int) -> AsyncGenerator[list[Limiter]]:
    limiters = [Limiter(store, unused, KeyLimitSettings()) for _ in range(count)]
    for limiter in limiters:
        await limiter.open()
    try:
        yield limiters
    finally:
        for limiter in limiters:
            await limiter.aclose()


async def unused(key_id: str, since: date) -> int:
    return 0


async def settled(limiter: Limiter) -> None:
    while limiter._tasks:
        await asyncio.wait(limiter._tasks)


async def ask(limiter: Limiter, limits: KeyLimits, times: int, tokens: int = 0) -> list[Admission]:
    return [await limiter.admit("key_a", limits, tokens) for _ in range(times)]


async def make_busy(limiter: Limiter, limits: KeyLimits, tokens: int = 0) -> None:
    for admission in await ask(limiter, limits, BUSY, tokens):
        admission.end(0)
    await settled(limiter)


async def standing(limiter: Limiter, limits: KeyLimits) -> Verdict:
    """Return what the shared store says, which only a key that no block holds is asked for."""
    limiter._blocks.end_all()
    await settled(limiter)
    return (await limiter.admit("key_a", limits, requests=0, sequences=0)).verdict


async def test_a_busy_key_is_decided_on_without_asking() -> None:
    store = CountingStore()
    async with replicas(store, 1) as (limiter,):
        await make_busy(limiter, BIG, 10)
        asked = store.decisions
        for admission in await ask(limiter, BIG, 10, 10):
            assert not admission.is_refused
            admission.end(3)
        await settled(limiter)
        assert store.decisions <= asked + 1  # the next block, once most of this one is used
        verdict = await standing(limiter, BIG)
        used = BUSY + 10
        assert 2_400 - used <= verdict.remaining_requests <= 2_400 - used + 40
        assert verdict.remaining_tokens >= 240_000 - 10 * 3


async def test_the_headers_of_a_key_count_down_inside_of_a_block() -> None:
    limits = KeyLimits(requests_per_minute=240_000)
    async with replicas(CountingStore(), 1) as (limiter,):
        limiter._blocks._hold_s = 60.0  # one block serves all, however slow the machine is
        await make_busy(limiter, limits)
        before = time.monotonic()
        left = [each.verdict.remaining_requests for each in await ask(limiter, limits, 200)]
        refilled = (time.monotonic() - before) * 4_000 + 1
        assert left[0] - 199 <= left[-1] <= left[0] - 199 + refilled


@pytest.mark.parametrize("limits", [KeyLimits(requests_per_minute=239), KeyLimits(concurrent_requests=31)])
async def test_small_limits_have_no_blocks(limits: KeyLimits) -> None:
    store = CountingStore()
    async with replicas(store, 2) as limiters:
        for _ in range(3 * BUSY):
            for limiter in limiters:
                (await limiter.admit("key_a", limits)).end(0)
        assert store.decisions == 6 * BUSY


@pytest.mark.parametrize("per_minute", [1, 2, 5])
async def test_a_few_requests_per_minute_are_exact_over_replicas(per_minute: int) -> None:
    async with replicas(CountingStore(), 2) as limiters:
        admitted = [not a.is_refused for one in limiters for a in await ask(one, KeyLimits(per_minute), 20)]
        assert sum(admitted) == per_minute


async def test_nothing_is_kept_back_near_a_limit() -> None:
    """The second half of a minute's worth is decided on request by request, so that both replicas get all of it."""
    limits = KeyLimits(requests_per_minute=600)
    async with replicas(CountingStore(), 2) as (one, other):
        began = time.monotonic()
        admitted = sum(not each.is_refused for each in await ask(one, limits, 550))
        await settled(one)
        admitted += sum(not each.is_refused for each in await ask(other, limits, 200))
        refilled = (time.monotonic() - began) * 10 + 1
        assert 600 - 5 <= admitted <= 600 + refilled


async def test_a_block_returns_when_its_time_is_over_and_when_its_replica_closes() -> None:
    limits = KeyLimits(requests_per_minute=2_400, concurrent_requests=64)
    store = CountingStore()
    async with replicas(store, 1) as (limiter,):
        await make_busy(limiter, limits)
        assert len(store._states["key_a"].leases) == 4  # the places of the block
        async with asyncio.timeout(4 * BLOCK_S):
            while store._states["key_a"].leases:
                await asyncio.sleep(0.05)
        await make_busy(limiter, limits)
        assert store._states["key_a"].leases
    assert not store._states["key_a"].leases


async def test_places_of_a_block_are_places_of_the_key() -> None:
    """Four of 64 places are in the block: 60 remain for the other replica, and the fifth one here is decided on."""
    limits = KeyLimits(concurrent_requests=64)
    async with replicas(CountingStore(), 2) as (one, other):
        await make_busy(one, limits)
        there = [each for each in await ask(other, limits, 70) if not each.is_refused]
        assert len(there) == 60
        here = await ask(one, limits, 5)
        assert [each.is_refused for each in here] == [False] * 4 + [True]
        there[0].end(0)
        other._blocks.end_all()
        await settled(other)
        assert not (await one.admit("key_a", limits)).is_refused


async def test_what_is_overdrawn_is_told_at_once() -> None:
    async with replicas(CountingStore(), 2) as (one, other):
        await make_busy(one, BIG, 10)
        admission = await one.admit("key_a", BIG, 10)
        admission.end(200_000)
        await settled(one)
        left = (await other.admit("key_a", BIG, requests=0, sequences=0)).verdict.remaining_tokens
        assert 40_000 - 2_100 <= left <= 44_000


async def test_what_a_block_has_served_outlives_it() -> None:
    limits = KeyLimits(requests_per_minute=2_400, tokens_per_minute=240_000, concurrent_requests=64)
    store = CountingStore()
    async with replicas(store, 1) as (limiter,):
        await make_busy(limiter, limits, 1_000)
        running = await limiter.admit("key_a", limits, 1_000)
        limiter._blocks.end_all()
        await settled(limiter)
        assert list(store._states["key_a"].leases) == running.places
        verdict = (await limiter.admit("key_a", limits, requests=0, sequences=0)).verdict
        assert verdict.remaining_tokens <= 239_500
        running.end(0)
        await settled(limiter)
        assert not store._states["key_a"].leases
        verdict = (await limiter.admit("key_a", limits, requests=0, sequences=0)).verdict
        assert verdict.remaining_tokens == 240_000


async def test_other_limits_of_a_key_hold_from_the_next_request_on() -> None:
    async with replicas(CountingStore(), 1) as (limiter,):
        await make_busy(limiter, BIG)
        less = KeyLimits(requests_per_minute=1)
        admitted = [not each.is_refused for each in await ask(limiter, less, 3)]
        assert sum(admitted) <= 1


async def test_the_month_is_never_exceeded_and_counts_what_was_used() -> None:
    limits = KeyLimits(tokens_per_month=10_000_000)
    store = CountingStore()
    async with replicas(store, 2) as limiters:
        for limiter in limiters:
            await make_busy(limiter, limits, 10)
        for admission in await ask(limiters[0], limits, 5, 10):
            admission.end(7)
        for limiter in limiters:
            limiter._blocks.end_all()
            await settled(limiter)
        month = store._states["key_a"].month
        assert month is not None and month.used == 5 * 7


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40), st.integers(0, 60)), min_size=20, max_size=60),
    st.sampled_from([(240, None), (None, 6_000), (360, 12_000), (3_000, None)]),
)
def test_two_replicas_never_admit_more_than_the_limits(
    asked: list[tuple[int, int, int]], per_minute: tuple[int | None, int | None]
) -> None:
    """Whatever comes to whichever replica: what was admitted, less what was settled, was there."""
    limits = KeyLimits(*per_minute)

    async def run() -> None:
        async with replicas(CountingStore(), 2) as limiters:
            began, requests, tokens = time.monotonic(), 0, 0
            for replica, estimate, used in asked:
                admissions = await ask(limiters[replica], limits, 8, estimate)
                for admission in admissions:
                    if not admission.is_refused:
                        requests, tokens = requests + 1, tokens + used
                        admission.end(used)
                if used % 3 == 0:
                    await asyncio.sleep(0)
            for limiter in limiters:
                await settled(limiter)
            minutes = (time.monotonic() - began) / 60
            assert requests <= (limits.requests_per_minute or 10**9) * (1 + minutes) + 1
            # What is used beyond the estimate is known once it has been used.
            beyond = sum(max(0, used - estimate) for _, estimate, used in asked) * 8
            assert tokens <= (limits.tokens_per_minute or 10**9) * (1 + minutes) + 1 + beyond

    asyncio.run(run())


def test_a_block_serves_what_it_has_and_no_more() -> None:
    one = Demand("key_a", BIG, 1, 100, "", MONTH)
    demand = block_demand(one, "r:1")
    assert demand is not None and (demand.requests, demand.tokens, demand.lease) == (20, 2_000, "")
    block = Block(demand, 0, Verdict(remaining_requests=2_380, remaining_tokens=238_000))
    assert sum(block.take(one) is not None for _ in range(30)) == 20
    assert block.take(Demand("key_a", BIG, 0, 0, "", MONTH)) is not None
    assert block.take(Demand("key_a", BIG, 0, 0, "", "2026-12")) is None
    rest = block.close()
    assert (rest.requests, rest.tokens) == (0, 0)
    assert block.take(Demand("key_a", BIG, 0, 0, "", MONTH)) is None
