"""The promises of limits' stores, kept by the one in Redis and by the one in memory alike."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from deployments.keys.types import KeyLimits
from deployments.limits.memory import MemoryLimits
from deployments.limits.remote import RedisLimits
from deployments.limits.store import UNKNOWN, Demand, LimitStore, Verdict

MONTH = "2026-11"
LEASE_S = 1.0


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[LimitStore]:
    if request.param == "memory":
        store: LimitStore = MemoryLimits(LEASE_S)
    else:
        store = RedisLimits(request.getfixturevalue("valkey_url"), f"test-{secrets.token_hex(4)}", 5.0, LEASE_S)
    yield store
    await store.aclose()


def demand(tokens: int = 0, lease: str = "", month: str = MONTH, **limits: int) -> Demand:
    return Demand("key_a", KeyLimits(**limits), 1, tokens, lease, month)


async def admitted(store: LimitStore, asked: Demand, times: int) -> list[Verdict]:
    """Ask `times` times and return the verdicts that admitted."""
    verdicts = [await store.admit(asked) for _ in range(times)]
    return [verdict for verdict in verdicts if verdict.refused_by is None]


async def settle(store: LimitStore, asked: Demand, verdict: Verdict, tokens: int) -> None:
    await store.settle(asked, asked.reserved, verdict.counted_in, tokens)


async def test_requests_are_admitted_up_to_the_limit_and_the_wait_is_true(store: LimitStore) -> None:
    asked = demand(requests_per_minute=60)
    began = time.monotonic()
    first = await store.admit(asked)
    assert (first.refused_by, first.remaining_requests) == (None, 59)
    assert 0.95 < first.reset_requests_s <= 1

    count = 1
    while (refused := await store.admit(asked)).refused_by is None:
        count += 1
    assert 60 <= count <= 60 + (time.monotonic() - began)  # each second fills in another
    assert (refused.refused_by, refused.remaining_requests) == ("requests_per_minute", 0)
    assert 0 < refused.wait_s <= 1

    await asyncio.sleep(refused.wait_s + 0.002)
    assert (await store.admit(asked)).refused_by is None
    refused = await store.admit(asked)
    assert refused.refused_by
    await asyncio.sleep(refused.wait_s / 2)
    assert (await store.admit(asked)).refused_by


async def test_a_refusal_takes_nothing(store: LimitStore) -> None:
    both = {"requests_per_minute": 10, "tokens_per_minute": 100}
    assert (await store.admit(demand(80, **both))).refused_by is None
    for _ in range(5):
        assert (await store.admit(demand(80, **both))).refused_by == "tokens_per_minute"
    verdict = await store.admit(demand(15, **both))
    assert (verdict.refused_by, verdict.remaining_requests) == (None, 8)


async def test_tokens_are_settled_to_what_was_used(store: LimitStore) -> None:
    asked = demand(100, tokens_per_minute=1000)
    verdict = await store.admit(asked)
    assert verdict.remaining_tokens == 900
    await settle(store, asked, verdict, 10)
    verdict = await store.admit(asked)
    assert 890 <= verdict.remaining_tokens <= 899
    await settle(store, asked, verdict, 600)
    refused = await store.admit(demand(900, tokens_per_minute=1000))
    assert 390 <= refused.remaining_tokens <= 400
    assert refused.wait_s == pytest.approx((900 - 391) * 60 / 1000, rel=0.05)


async def test_what_was_used_beyond_the_estimate_has_to_fill_up_first(store: LimitStore) -> None:
    asked = demand(1, tokens_per_minute=6000)
    await settle(store, asked, await store.admit(asked), 6100)
    refused = await store.admit(asked)
    assert (refused.refused_by, refused.remaining_tokens) == ("tokens_per_minute", 0)
    assert 0.5 < refused.wait_s <= 1.01
    assert (await store.admit(demand(0, tokens_per_minute=6000))).refused_by is None


async def test_an_estimate_above_a_minutes_worth_needs_a_full_bucket(store: LimitStore) -> None:
    asked = demand(10**6, tokens_per_minute=100)
    verdict = await store.admit(asked)
    assert (verdict.refused_by, verdict.remaining_tokens) == (None, 0)
    assert (await store.admit(demand(1, tokens_per_minute=100))).refused_by == "tokens_per_minute"
    await settle(store, asked, verdict, 40)
    assert (await store.admit(demand(1, tokens_per_minute=100))).remaining_tokens == 59


async def test_requests_at_once_are_bounded_until_one_ends(store: LimitStore) -> None:
    first, second, third = (demand(lease=name, concurrent_requests=2) for name in "abc")
    verdict = await store.admit(first)
    await store.admit(second)
    assert (await store.admit(third)).refused_by == "concurrent_requests"
    assert (await store.admit(demand(concurrent_requests=2))).refused_by is None
    await settle(store, first, verdict, 0)
    assert (await store.admit(third)).refused_by is None


async def test_each_sequence_of_a_request_takes_a_place(store: LimitStore) -> None:
    wide, narrow = (
        replace(demand(lease=name, concurrent_requests=5), sequences=count) for name, count in (("w", 4), ("n", 1))
    )
    verdict = await store.admit(wide)
    assert (await store.admit(replace(wide, lease="w2"))).refused_by == "concurrent_requests"
    assert (await store.admit(replace(narrow, sequences=2))).refused_by == "concurrent_requests"
    assert (await store.admit(narrow)).refused_by is None
    assert (await store.admit(replace(narrow, lease="n2"))).refused_by == "concurrent_requests"
    await settle(store, wide, verdict, 0)
    assert (await store.admit(replace(wide, lease="w2"))).refused_by is None
    assert (await store.admit(replace(narrow, lease="n2"))).refused_by == "concurrent_requests"


async def test_the_places_of_a_request_lapse_and_are_renewed_together(store: LimitStore) -> None:
    killed, long = (replace(demand(lease=name, concurrent_requests=6), sequences=3) for name in ("killed", "long"))
    await store.admit(killed)
    await store.admit(long)
    for _ in range(3):
        await asyncio.sleep(LEASE_S * 0.4)
        await store.renew({"key_a": long.places})
    assert (await store.admit(replace(long, lease="more", sequences=4))).refused_by == "concurrent_requests"
    assert (await store.admit(replace(long, lease="new"))).refused_by is None


async def test_a_lease_lapses_unless_it_is_renewed(store: LimitStore) -> None:
    await store.admit(demand(lease="killed", concurrent_requests=2))
    await store.admit(demand(lease="long", concurrent_requests=2))
    for _ in range(3):
        await asyncio.sleep(LEASE_S * 0.4)
        await store.renew({"key_a": ["long"]})
    assert (await store.admit(demand(lease="new", concurrent_requests=2))).refused_by is None
    assert (await store.admit(demand(lease="newer", concurrent_requests=2))).refused_by == "concurrent_requests"


async def test_a_renewal_brings_back_what_was_lost(store: LimitStore) -> None:
    await store.renew({"key_a": ["before the restart"]})
    assert (await store.admit(demand(lease="new", concurrent_requests=1))).refused_by == "concurrent_requests"


async def test_the_month_is_asked_for_once_and_then_counted(store: LimitStore) -> None:
    asked = demand(100, tokens_per_month=1000)
    assert (await store.admit(asked)).asks_for_month
    verdict = await store.admit(asked, 700)
    assert verdict.refused_by is None and verdict.counted_in
    second = await store.admit(asked)
    assert (second.refused_by, second.counted_in) == (None, verdict.counted_in)
    assert len(await admitted(store, asked, 5)) == 1
    assert (await store.admit(asked)).refused_by == "tokens_per_month"
    await settle(store, asked, verdict, 0)
    assert len(await admitted(store, asked, 5)) == 1


async def test_a_new_month_begins_anew(store: LimitStore) -> None:
    asked = demand(100, tokens_per_month=100)
    verdict = await store.admit(asked, 0)
    assert (await store.admit(asked)).refused_by == "tokens_per_month"
    december = replace(asked, month="2026-12")
    assert (await store.admit(december)).asks_for_month
    assert (await store.admit(december, 0)).refused_by is None
    await settle(store, asked, verdict, 5)  # of november: it does not make room
    assert (await store.admit(december)).refused_by == "tokens_per_month"


async def test_a_month_that_nobody_can_tell_is_not_held(store: LimitStore) -> None:
    asked = demand(100, tokens_per_month=50)
    verdict = await store.admit(asked, UNKNOWN)
    assert (verdict.refused_by, verdict.counted_in) == (None, 0)
    assert (await store.admit(asked)).asks_for_month
    assert (await store.admit(asked, 0)).refused_by == "tokens_per_month"


async def test_a_count_that_came_later_takes_what_was_used_not_the_difference(store: LimitStore) -> None:
    """The request was admitted while nobody knew the month: its estimate is in no count."""
    asked = demand(100, tokens_per_month=1000)
    verdict = await store.admit(asked, UNKNOWN)
    other = demand(1, tokens_per_month=1000)
    await store.admit(other, 0)
    await settle(store, asked, verdict, 500)
    assert (await store.admit(demand(500, tokens_per_month=1000))).refused_by == "tokens_per_month"
    assert (await store.admit(demand(499, tokens_per_month=1000))).refused_by is None


async def test_a_limit_that_changed_holds_at_once(store: LimitStore) -> None:
    assert len(await admitted(store, demand(requests_per_minute=50), 20)) == 20
    assert len(await admitted(store, demand(requests_per_minute=3), 10)) == 3
    assert (await store.admit(demand())).refused_by is None


@pytest.mark.parametrize("seed", range(3))
async def test_both_stores_decide_alike(valkey_url: str, seed: int) -> None:
    """Whatever happens, in whatever order; buckets that fill slowly make time drop out."""
    chance = random.Random(seed)
    limits = KeyLimits(8, 400, 3, 5000)
    memory, remote = MemoryLimits(60), RedisLimits(valkey_url, f"test-{secrets.token_hex(4)}", 5.0, 60)
    running: list[tuple[Demand, Verdict, Verdict]] = []
    late_s = 0.0  # by how much the second store was asked later than the first, at most
    for step in range(60):
        if running and chance.random() < 0.45:
            asked, here, there = running.pop(chance.randrange(len(running)))
            used = chance.randrange(100)
            await settle(memory, asked, here, used)
            await settle(remote, asked, there, used)
            continue
        tokens, sequences = chance.randrange(1, 200), chance.randrange(1, 3)
        asked = Demand(f"key_{step // 20}", limits, 1, tokens, f"lease {step}", MONTH, sequences)
        began = time.monotonic()
        here, there = await memory.admit(asked, 10), await remote.admit(asked, 10)
        late_s = max(late_s, time.monotonic() - began)
        assert here.refused_by == there.refused_by
        assert abs(here.remaining_tokens - there.remaining_tokens) <= 1 + late_s * 400 / 60
        assert here.remaining_requests == there.remaining_requests
        assert here.wait_s == pytest.approx(there.wait_s, abs=0.05 + late_s)
        if here.refused_by is None:
            running.append((asked, here, there))
    await remote.aclose()
