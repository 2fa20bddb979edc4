"""The usage store's promises, kept by the real one and by the one in memory alike; and the writer before it."""

import asyncio
from datetime import UTC, date, datetime

import asyncpg
import pytest
from pydantic import SecretStr

from deployments.config import HistorySettings, UsageSettings
from deployments.errors import HistoryUnavailable
from deployments.infra.postgres.database import Database
from deployments.usage.memory import MemoryUsage
from deployments.usage.postgres import PostgresUsage
from deployments.usage.store import UsageStore
from deployments.usage.types import Place, Row, Used
from deployments.usage.writer import UsageWriter

FIRST, SECOND = date(2026, 11, 21), date(2026, 11, 22)
ONE = Used(1, 0, 10, 5, 0)


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> UsageStore:
    return MemoryUsage() if request.param == "memory" else PostgresUsage(request.getfixturevalue("database"))


async def test_batches_add_up_and_a_repeated_one_does_not(store: UsageStore) -> None:
    place = Place("key_a", SECOND, "guide")
    await store.add("batch_1", {place: ONE})
    await store.add("batch_1", {place: ONE})
    await store.add("batch_2", {place: Used(2, 1, 3, 4, 5)})
    assert await store.report("key_a", SECOND, SECOND, ["day"], 10) == [
        Row(SECOND, None, None, Used(3, 1, 13, 9, 5)),
    ]
    assert await store.tokens("key_a", SECOND) == 22


async def test_attempts_at_once_add_one_batch_once(store: UsageStore) -> None:
    sums = {Place(f"key_{number}", SECOND, "guide"): ONE for number in range(20)}
    await asyncio.gather(*(store.add("batch_1", sums) for _ in range(8)))
    assert [row.used for row in await store.report(None, SECOND, SECOND, [], 10)] == [Used(20, 0, 200, 100, 0)]


async def test_replicas_write_the_same_rows_at_once(store: UsageStore) -> None:
    places = [Place(f"key_{number}", SECOND, "guide") for number in range(20)]

    async def replica(name: int) -> None:
        ordered = places if name % 2 else places[::-1]
        for batch in range(10):
            await store.add(f"batch_{name}_{batch}", dict.fromkeys(ordered, ONE))

    await asyncio.gather(*map(replica, range(4)))
    rows = await store.report(None, SECOND, SECOND, ["key"], 100)
    assert [row.used.requests for row in rows] == [40] * 20


async def test_reports_group_and_bound(store: UsageStore) -> None:
    await store.add(
        "batch_1",
        {
            Place("key_a", FIRST, "guide"): ONE,
            Place("key_a", SECOND, "guide"): ONE,
            Place("key_a", SECOND, "other"): ONE,
            Place("key_b", SECOND, ""): ONE,
        },
    )
    two = ONE + ONE
    assert await store.report("key_a", FIRST, SECOND, ["day"], 10) == [
        Row(FIRST, None, None, ONE),
        Row(SECOND, None, None, two),
    ]
    assert await store.report("key_a", FIRST, SECOND, ["model"], 10) == [
        Row(None, "guide", None, two),
        Row(None, "other", None, ONE),
    ]
    everything = await store.report(None, FIRST, SECOND, ["key", "day", "model"], 10)
    assert [(row.day, row.model, row.key_id) for row in everything] == [
        (FIRST, "guide", "key_a"),
        (SECOND, "", "key_b"),
        (SECOND, "guide", "key_a"),
        (SECOND, "other", "key_a"),
    ]
    assert len(await store.report(None, FIRST, SECOND, ["key", "day", "model"], 3)) == 3
    assert await store.report("key_a", SECOND, FIRST, ["day"], 10) == []
    assert await store.report("key_\0", FIRST, SECOND, ["day"], 10) == []
    assert (await store.tokens("key_a", FIRST), await store.tokens("key_a", SECOND)) == (45, 30)
    assert await store.tokens("key_c", FIRST) == 0


async def test_old_batches_are_forgotten(database_url: str) -> None:
    database = Database(SecretStr(database_url), HistorySettings())
    await database.open()
    await PostgresUsage(database).add("batch_1", {Place("key_a", FIRST, "guide"): ONE})
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE usage_batches SET written_at = now() - interval '8 days'")
    await PostgresUsage(database).add("batch_2", {Place("key_a", FIRST, "guide"): ONE})
    assert await connection.fetchval("SELECT array_agg(id) FROM usage_batches") == ["batch_2"]
    await connection.close()
    await database.close()


class Unsure(MemoryUsage):
    """Takes batches and says that it is unknown, as a connection that breaks at the end."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def add(self, batch_id: str, sums: dict[Place, Used]) -> None:  # type: ignore[override]
        await super().add(batch_id, sums)
        self.times -= 1
        if self.times >= 0:
            raise HistoryUnavailable


def settings(**changes: float) -> UsageSettings:
    return UsageSettings(**{"flush_s": 0.01, **changes})  # type: ignore[arg-type]


async def total(store: UsageStore) -> Used:
    rows = await store.report(None, date(2000, 1, 1), date(2100, 1, 1), [], 10)
    return rows[0].used if rows else Used()


async def test_usage_is_merged_and_written_behind() -> None:
    store = MemoryUsage()
    writer = UsageWriter(store, settings())
    await writer.open()
    for _ in range(1000):
        writer.note("key_a", "guide", ONE)
    assert writer.pending == 1
    async with asyncio.timeout(2):
        while writer.pending:
            await asyncio.sleep(0.005)
    assert await total(store) == Used(1000, 0, 10_000, 5_000, 0)
    assert (await store.report("key_a", datetime.now(UTC).date(), datetime.now(UTC).date(), ["model"], 5))[0].model
    await writer.drain(1)


async def test_a_batch_of_unknown_outcome_is_repeated_and_counted_once() -> None:
    store = Unsure(3)
    writer = UsageWriter(store, settings())
    await writer.open()
    writer.note("key_a", "guide", ONE)
    await asyncio.sleep(0.05)
    writer.note("key_a", "guide", ONE)
    async with asyncio.timeout(3):
        while writer.pending:
            await asyncio.sleep(0.01)
    assert store.times < 0
    assert await total(store) == ONE + ONE
    await writer.drain(1)


async def test_an_outage_is_bridged_in_bounded_memory() -> None:
    store = MemoryUsage()
    store.is_away = True
    writer = UsageWriter(store, settings(max_pending=3))
    await writer.open()
    await asyncio.sleep(0.03)
    for number in range(5):
        writer.note(f"key_{number}", "guide", ONE)
        writer.note("key_0", "guide", ONE)
    assert (writer.pending, writer.dropped) == (3, 2)
    store.is_away = False
    assert await writer.drain(3) == 0
    assert (await total(store)).requests == 3 + 5


async def test_a_shutdown_writes_what_waits_and_says_what_is_left() -> None:
    store = MemoryUsage()
    writer = UsageWriter(store, settings(flush_s=60))
    await writer.open()
    for number in range(2500):
        writer.note(f"key_{number}", "guide", ONE)
    assert await writer.drain(2) == 0
    assert (await total(store)).requests == 2500
    store.is_away = True
    writer.note("key_a", "guide", ONE)
    assert await writer.drain(0.05) == 1
