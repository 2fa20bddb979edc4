"""The figures of all batches reach the metrics from one replica; what the others tell changes no maximum."""

import asyncio
from contextlib import suppress

import pytest

from deployments.batches import watch
from deployments.batches.memory import MemoryBatches
from deployments.batches.types import Batch, BatchFigures
from deployments.batches.watch import NOTHING, watch_forever
from deployments.files.memory import MemoryFiles

BATCH = Batch("ann", "key_1", "/v1/embeddings", "file-1")


class Levels:
    """What one replica has told."""

    def __init__(self) -> None:
        self.told: list[BatchFigures] = []

    def batches_open(self, figures: BatchFigures) -> None:
        self.told.append(figures)

    async def next(self) -> BatchFigures:
        so_far = len(self.told)
        while len(self.told) == so_far:
            await asyncio.sleep(0.001)
        return self.told[-1]


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_turn_goes_over_when_its_replica_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "WATCH_S", 0.01)
    monkeypatch.setattr(watch, "TURN_S", 0.2)
    store, one, two = MemoryBatches(MemoryFiles()), Levels(), Levels()
    await store.create(BATCH, 1)
    first = asyncio.create_task(watch_forever(store, "one", one))
    assert (await one.next()).open == {"validating": 1}
    second = asyncio.create_task(watch_forever(store, "two", two))
    assert await two.next() == await two.next() == NOTHING

    await ended(first)
    assert one.told[-1] == NOTHING
    async with asyncio.timeout(5):
        while (await two.next()) == NOTHING:
            pass
    assert two.told[-1].open == {"validating": 1}

    store.is_away = True
    async with asyncio.timeout(5):
        while (await two.next()) != NOTHING:
            pass
    store.is_away = False
    async with asyncio.timeout(5):
        while (await two.next()) == NOTHING:
            pass
    await ended(second)
