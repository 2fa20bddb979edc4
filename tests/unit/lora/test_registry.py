"""What an ingress replica knows of loaded adapters, and what it tells the replicas of their models."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from deployments.cache.client import NoCache
from deployments.config import AdapterLoading, ScriptedModel
from deployments.errors import HistoryUnavailable
from deployments.lora import registry
from deployments.lora.memory import MemoryAdapters
from deployments.lora.registry import AdapterRegistry
from deployments.lora.types import Adapter

OPEN = ScriptedModel(id="guide", kind="scripted", adapter_loading=AdapterLoading())
CLOSED = ScriptedModel(id="closed", kind="scripted")


@dataclass
class Recorded:
    """Models that note what they are told."""

    offered: list[Sequence[Adapter]] = field(default_factory=list[Sequence[Adapter]])
    replicas: int = 1
    told: list[list[str]] = field(default_factory=list[list[str]])

    def offer(self, adapters: Sequence[Adapter]) -> None:
        self.offered.append(adapters)

    def identity(self, model: str) -> str:
        return model

    async def load_adapter(self, model: str, name: str, source: str) -> Adapter:
        return adapter(model, name)

    async def tell_adapters(self, model: str, adapters: Sequence[Adapter]) -> None:
        self.told.append([adapter.id for adapter in adapters])

    def replicas_of(self, model: str) -> int:
        return self.replicas


class Away(MemoryAdapters):
    """A store that can be away."""

    is_away = False

    async def list(self) -> Sequence[Adapter]:
        if self.is_away:
            raise HistoryUnavailable
        return await super().list()


def adapter(model: str = "guide", name: str = "pirate") -> Adapter:
    return Adapter(model, name, "one", "0" * 64, 8, 1)


async def settled(task_count: int = 5) -> None:
    for _ in range(task_count):
        await asyncio.sleep(0)


async def test_what_another_replica_loaded_is_offered_and_told_to_the_model_s_replicas_once() -> None:
    store, models = MemoryAdapters(), Recorded()
    known = AdapterRegistry(store, models, NoCache(), [OPEN, CLOSED])
    await known.refresh()
    await settled()
    assert (models.offered, models.told) == ([], []), "where there is nothing, nobody is told"
    await store.put(adapter(), 4)
    await store.put(adapter("closed"), 4)
    await store.put(adapter("removed from the file"), 4)
    for _ in range(3):
        await known.refresh()
        await settled()
    assert [[one.id for one in offered] for offered in models.offered] == [["guide:pirate"]]
    assert models.told == [["guide:pirate"]]


async def test_replicas_that_come_later_are_told_and_so_is_an_unloading() -> None:
    store, models = MemoryAdapters(), Recorded(replicas=0)
    known = AdapterRegistry(store, models, NoCache(), [OPEN])
    await store.put(adapter(), 4)
    await known.refresh()
    await settled()
    assert models.told == [], "nobody is there to be told"
    for models.replicas in (1, 1, 2):
        await known.refresh()
        await settled()
    assert models.told == [["guide:pirate"]] * 2
    await known.unload("guide", "pirate")
    await settled()
    assert models.told[2:] == [[]]


async def test_when_an_adapter_is_loaded_the_other_replicas_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "POLL_S", 0.1)
    monkeypatch.setattr(registry, "SPREAD_S", 0.1)
    store = MemoryAdapters()
    here, other = (AdapterRegistry(store, Recorded(), NoCache(), [OPEN]) for _ in range(2))
    await other.open()
    await here.load("guide", "pirate", "one")
    assert [one.id for one in other.adapters] == ["guide:pirate"]
    await other.aclose()


async def test_a_new_replica_knows_all_adapters_before_its_first_request() -> None:
    store, models = MemoryAdapters(), Recorded()
    await store.put(adapter(), 4)
    known = AdapterRegistry(store, models, NoCache(), [OPEN])
    await known.open()
    assert [one.id for one in known.adapters] == ["guide:pirate"]
    await known.aclose()


async def test_while_the_store_is_away_what_is_known_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "POLL_S", 0.01)
    store, models = Away(), Recorded()
    known = AdapterRegistry(store, models, NoCache(), [OPEN])
    await store.put(adapter(), 4)
    await known.open()
    await asyncio.sleep(0.05)
    store.is_away = True
    await asyncio.sleep(0.05)
    assert [one.id for one in known.adapters] == ["guide:pirate"]
    store.is_away = False
    await store.remove("guide", "pirate")
    await asyncio.sleep(0.05)
    assert known.adapters == [] and models.offered[-1] == []
    await known.aclose()
