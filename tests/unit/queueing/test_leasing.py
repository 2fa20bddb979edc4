"""The shares of several ingress replicas: what is fair, what an outage leaves, and that growth is noticed."""

import pytest

from deployments.infra.redis.errors import StoreError
from deployments.queueing.leasing import SharedCapacity, Use
from deployments.queueing.shares import MemoryCapacity, Share, fair_share


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"a": 0}, {"a": 64}),
        ({"a": 0, "b": 0}, {"a": 32, "b": 32}),
        ({"a": 100, "b": 100}, {"a": 32, "b": 32}),
        ({"a": 100, "b": 0}, {"a": 64, "b": 1}),
        ({"a": 100, "b": 10, "c": 100}, {"a": 27, "b": 10, "c": 27}),
        ({"a": 10, "b": 20}, {"a": 27, "b": 37}),
    ],
)
def test_what_is_fair(wanted: dict[str, int], expected: dict[str, int]) -> None:
    assert {name: fair_share(64, wanted, name) for name in wanted} == expected


class Store(MemoryCapacity):
    """Shares in memory that can be out of reach."""

    is_away = False

    async def renew(self, model: str, replica: str, capacity: int, wanted: int, filled: int) -> Share:
        if self.is_away:
            raise StoreError("connection")
        return await super().renew(model, replica, capacity, wanted, filled)


class Replica:
    """An ingress replica that wants places of one model."""

    def __init__(self, store: Store) -> None:
        self.use = Use(64, 0, 0)
        self.changes = 0
        self.capacity = SharedCapacity(store, lambda: {"it": self.use}, self.note)

    def note(self) -> None:
        self.changes += 1

    async def wants(self, places: int, filled: int = 0) -> int:
        self.use = Use(64, places, filled)
        await self.capacity.renew()
        return self.capacity.of("it", 64)


async def test_two_replicas_share_what_there_is() -> None:
    store = Store(lambda: 0.0)
    one, other = Replica(store), Replica(store)
    assert await one.wants(100, 64) == 64
    assert await other.wants(100) == 1  # the first is still full
    assert await one.wants(100, 60) == 32
    assert await one.wants(100, 32) == 32
    assert await other.wants(100) == 32
    assert other.changes == 1
    assert await one.wants(0) == 1
    assert await other.wants(100, 32) >= 50


async def test_a_replica_that_is_gone_leaves_its_share() -> None:
    now = 0.0
    store = Store(lambda: now)
    one, other = Replica(store), Replica(store)
    await one.wants(100, 32)
    assert await other.wants(100) == 1
    now = 10.0
    assert await other.wants(100) == 64


async def test_while_the_store_is_away_shares_stay_as_they_were() -> None:
    store = Store(lambda: 0.0)
    one, other, late = Replica(store), Replica(store), Replica(store)
    await other.wants(0)
    assert await one.wants(100) == 48
    await other.wants(100)
    assert await one.wants(100) == 32
    store.is_away = True
    assert await one.wants(100) == 32
    assert one.capacity.of("it", 128) == 64
    assert await late.wants(100) == 64
