"""How many responses a key runs in the background: over all replicas, and over one that is lost."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import date

import pytest

from deployments.config import KeyLimitSettings
from deployments.errors import TooManyRequests
from deployments.limits.background import BackgroundPlaces
from deployments.limits.limiter import Limiter
from deployments.limits.memory import MemoryLimits


async def nothing_used(key_id: str, since: date) -> int:
    return 0


class Store(MemoryLimits):
    """What both replicas share, and neither closes."""

    async def aclose(self) -> None: ...


@asynccontextmanager
async def replica(store: Store) -> AsyncGenerator[BackgroundPlaces]:
    limiter = Limiter(store, nothing_used, KeyLimitSettings())
    await limiter.open()
    yield BackgroundPlaces(limiter, 2)
    await limiter.aclose()


async def test_a_keys_places_are_those_on_all_replicas() -> None:
    store = Store(30)
    async with replica(store) as one, replica(store) as other:
        first, _ = await one.take("a"), await other.take("a")
        for places in (one, other):
            with pytest.raises(TooManyRequests):
                await places.take("a")
        await one.take("b")
        first.end(0)
    async with replica(store) as one:
        assert await one.take("a")


async def test_what_is_taken_over_takes_a_place_though_none_is_free() -> None:
    store = Store(30)
    async with replica(store) as one:
        await one.take("a")
        await one.take("a")
        again = one.retake("a", "resp_1")
    async with replica(store) as one:
        with pytest.raises(TooManyRequests):
            await one.take("a")
    again.end(0)
