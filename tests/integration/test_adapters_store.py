"""The stores of loaded adapters, real and in memory, under one contract."""

import asyncio

import pytest

from deployments.errors import Conflict, NotFound
from deployments.infra.postgres.database import Database
from deployments.lora.memory import MemoryAdapters
from deployments.lora.postgres import PostgresAdapters
from deployments.lora.store import AdapterStore
from deployments.lora.types import Adapter


@pytest.fixture(params=["postgres", "memory"])
def store(request: pytest.FixtureRequest) -> AdapterStore:
    if request.param == "memory":
        return MemoryAdapters()
    database: Database = request.getfixturevalue("database")
    return PostgresAdapters(database)


def adapter(name: str = "pirate", model: str = "guide", sha256: str = "a" * 64) -> Adapter:
    return Adapter(model, name, "/srv/adapters/pirate", sha256, 8, 921_600)


async def test_what_is_put_is_listed_replaced_and_removed(store: AdapterStore) -> None:
    kept = await store.put(adapter(), 4)
    assert kept.loaded_at > 1_600_000_000 and kept.key == adapter().key
    await store.put(adapter("poet"), 4)
    await store.put(adapter(model="another"), 4)
    assert [one.id for one in await store.list()] == ["another:pirate", "guide:pirate", "guide:poet"]
    await store.put(adapter(sha256="b" * 64), 4)
    assert [one.sha256[0] for one in await store.list()] == ["a", "b", "a"]
    await store.remove("guide", "pirate")
    with pytest.raises(NotFound, match="guide:pirate"):
        await store.remove("guide", "pirate")
    assert [one.id for one in await store.list()] == ["another:pirate", "guide:poet"]


async def test_a_model_has_no_more_than_it_may_even_if_they_come_at_once(store: AdapterStore) -> None:
    wanted = [adapter(f"a{at}", "crowded") for at in range(8)]
    results = await asyncio.gather(*(store.put(one, 3) for one in wanted), return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 5
    found = [one for one in await store.list() if one.model == "crowded"]
    assert len(found) == 3
    await store.put(found[0], 3)
    await store.put(adapter(model="roomy"), 3)
