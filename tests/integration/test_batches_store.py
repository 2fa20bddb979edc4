"""The promises of the store of batches, kept by the real one and by the one in memory alike."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.batches import postgres
from deployments.batches.memory import MemoryBatches
from deployments.batches.postgres import PostgresBatches
from deployments.batches.store import BatchStore
from deployments.batches.types import Batch, Claim, ClaimedLine, LineError, NewLine, Outcome, Tokens
from deployments.errors import NotFound, TooManyRequests
from deployments.files.memory import MemoryFiles
from deployments.files.postgres import PostgresFiles
from deployments.files.store import FileStore
from deployments.files.types import StoredFile
from deployments.infra.postgres.database import Database

ANN, BOB = "ann", "bob"
ONE, TWO = "replica-1", "replica-2"
LONG_S = 60.0
NO_TOKENS = Tokens()


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> tuple[BatchStore, FileStore]:
    if request.param == "memory":
        files = MemoryFiles()
        return MemoryBatches(files), files
    database = request.getfixturevalue("database")
    return PostgresBatches(database), PostgresFiles(database)


@pytest.fixture
def store(stores: tuple[BatchStore, FileStore]) -> BatchStore:
    return stores[0]


def new(seconds: float = 0, **more: Any) -> Batch:
    given = {
        "tenant": ANN,
        "key_id": "key_1",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "created_at": datetime.now(UTC) + timedelta(seconds=seconds),
    }
    return Batch(**{**given, **more})


def lines(count: int) -> list[NewLine]:
    return [NewLine(at, f"id-{at}", b'{"n": %d}' % at) for at in range(1, count + 1)]


async def started(store: BatchStore, count: int = 3, **more: Any) -> Batch:
    await store.create(batch := new(**more), 10)
    taken = await store.take(ONE, LONG_S)
    assert taken is not None
    assert taken.id == batch.id
    assert await store.add_lines(taken, lines(count), LONG_S)
    assert await store.start(taken, count, "quick")
    return await store.batch(batch.tenant, batch.id)


async def count_open(store: BatchStore) -> int:
    return len((await store.open_batches(None, 100)).data)


def outcome(line: ClaimedLine, is_error: bool = False, tokens: Tokens = NO_TOKENS) -> Outcome:
    return Outcome(line.claim, b"answer %d" % line.number, is_error, tokens)


async def test_a_batch_goes_from_its_input_to_its_output(stores: tuple[BatchStore, FileStore]) -> None:
    store, files = stores
    await store.create(batch := new(metadata={"a": "ü"}, output_ttl_s=3600), 10)
    assert await store.batch(ANN, batch.id) == batch
    taken = await store.take(ONE, LONG_S)
    assert taken == replace(batch, fence=1)
    assert await store.take(TWO, LONG_S) is None
    assert await store.add_lines(taken, lines(2), LONG_S)
    assert await store.add_lines(taken, lines(3), LONG_S)  # again, after an unknown outcome
    assert await store.claim(ONE, 9, LONG_S, ()) == []
    assert await store.start(taken, 3, "quick")
    assert not await store.start(taken, 3, "quick")

    claimed = await store.claim(ONE, 2, LONG_S, ())
    assert [(c.number, c.custom_id, c.body, c.attempts) for c in claimed] == [
        (1, "id-1", b'{"n": 1}', 1),
        (2, "id-2", b'{"n": 2}', 1),
    ]
    assert {(c.batch_id, c.tenant, c.key_id, c.endpoint) for c in claimed} == {
        (batch.id, ANN, "key_1", "/v1/chat/completions")
    }
    claimed += await store.claim(TWO, 9, LONG_S, ())
    assert await store.claim(ONE, 9, LONG_S, ()) == []
    first = outcome(claimed[0], tokens=Tokens(1, 2, 3, 4))
    assert await store.settle(ONE, [first, outcome(claimed[1], is_error=True)]) == {c.claim for c in claimed[:2]}
    assert await store.take(ONE, LONG_S) is None
    assert await store.settle(TWO, [outcome(claimed[2])]) == {claimed[2].claim}

    ending = await store.take(TWO, LONG_S)

    assert ending is not None
    assert (ending.status, ending.ending, ending.completed, ending.failed, ending.total) == (
        "finalizing",
        "completed",
        2,
        1,
        3,
    )
    assert ending.tokens == Tokens(1, 2, 3, 4)
    assert await store.close_lines(ending, LONG_S)
    done = await store.done_lines(ending, 0, 2, 1000)
    assert [(d.number, d.custom_id, d.text, d.is_error) for d in done] == [
        (1, "id-1", b"answer 1", False),
        (2, "id-2", b"answer 2", True),
    ]
    assert [d.number for d in await store.done_lines(ending, 0, 9, 17)] == [1, 2]
    assert [d.number for d in await store.done_lines(ending, 2, 9, 1)] == [3]
    assert await store.done_lines(ending, 3, 9, 1) == []
    output = StoredFile(ANN, "out", "batch_output")
    await files.begin(output)
    await files.append(ANN, output.id, 0, b"all")
    assert await store.renew_batch(ending, LONG_S)
    assert await store.finish(ending, output, None)
    assert not await store.finish(ending, output, None)
    ended = await store.batch(ANN, batch.id)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("completed", output.id, None)
    assert ended.completed_at is not None
    assert (await files.file(ANN, output.id)).bytes == 3
    assert await store.take(ONE, LONG_S) is None


async def test_a_batch_is_of_one_tenant(store: BatchStore) -> None:
    batch = await started(store)
    for call in (store.batch(BOB, batch.id), store.cancel(BOB, batch.id), store.batches(BOB, batch.id, 1)):
        with pytest.raises(NotFound):
            await call
    assert (await store.batches(BOB, None, 9)).data == []
    assert (await store.batch(ANN, batch.id)).status == "in_progress"


async def test_the_list_is_paged_the_newest_first(store: BatchStore) -> None:
    ids = []
    for at in range(3):
        await store.create(batch := new(at), 10)
        ids.insert(0, batch.id)
    page = await store.batches(ANN, None, 2)
    assert ([b.id for b in page.data], page.has_more, page.last_id) == (ids[:2], True, ids[1])
    rest = await store.batches(ANN, ids[1], 2)
    assert ([b.id for b in rest.data], rest.has_more) == (ids[2:], False)
    with pytest.raises(NotFound):
        await store.batches(ANN, "batch_none", 2)


async def test_a_tenant_has_only_so_many_open(store: BatchStore) -> None:
    await store.create(batch := new(), 2)
    await store.create(new(1), 2)
    with pytest.raises(TooManyRequests):
        await store.create(new(2), 2)
    await store.create(batch, 2)  # again, after an unknown outcome
    await store.create(new(tenant=BOB), 2)
    taken = await store.take(ONE, LONG_S)
    assert taken is not None
    assert await store.fail(taken, [LineError("empty_file", "It is empty.", 3, "body")])
    failed = await store.batch(taken.tenant, taken.id)
    assert (failed.status, failed.errors) == ("failed", (LineError("empty_file", "It is empty.", 3, "body"),))
    assert failed.failed_at is not None
    assert await count_open(store) == 2
    await store.create(new(3, tenant=failed.tenant), 2)


async def test_creations_at_once_exceed_no_bound(store: BatchStore) -> None:
    made = await asyncio.gather(*(store.create(new(at), 3) for at in range(12)), return_exceptions=True)

    assert sorted(type(one).__name__ for one in made) == ["NoneType"] * 3 + ["TooManyRequests"] * 9
    assert await count_open(store) == 3
    await store.create(batch := new(max_lines=7), None)  # no bound at all
    assert (await store.batch(ANN, batch.id)).max_lines == 7


async def test_a_line_of_a_lost_replica_is_answered_once(store: BatchStore) -> None:
    batch = await started(store, 1)
    (lost,) = await store.claim(ONE, 9, -1, ())
    (again,) = await store.claim(TWO, 9, LONG_S, ())
    assert (again.number, again.attempts) == (1, 2)
    assert again.fence > lost.fence

    assert await store.settle(ONE, [outcome(lost)]) == set()
    assert await store.renew(ONE, [lost.claim], LONG_S) == set()
    await store.give_back(ONE, [lost.claim], -1, is_counted=False)
    assert await store.claim(ONE, 9, LONG_S, ()) == []
    assert await store.settle(TWO, [outcome(again)]) == {again.claim}
    assert await store.settle(TWO, [outcome(again)]) == set()

    after = await store.batch(ANN, batch.id)
    assert (after.completed, after.failed) == (1, 0)


async def test_a_lease_is_kept_and_given_back(store: BatchStore) -> None:
    await started(store, 2)
    claimed = await store.claim(ONE, 9, 0.3, ())
    claims = [c.claim for c in claimed]
    assert await store.renew(ONE, claims, LONG_S) == set(claims)
    await store.give_back(ONE, claims[:1], -1, is_counted=True)
    await store.give_back(ONE, claims[1:], LONG_S, is_counted=False)
    (again,) = await store.claim(TWO, 9, -1, ())
    assert (again.number, again.attempts) == (1, 2)
    assert await store.claim(TWO, 9, LONG_S, {again.batch_id}) == []


async def test_what_a_replica_does_not_know_to_be_its_own_is_claimed_again(store: BatchStore) -> None:
    await started(store, 4)
    known = await store.claim(ONE, 1, LONG_S, [])
    await store.claim(ONE, 2, LONG_S, [])  # the reply is lost
    (other,) = await store.claim(TWO, 1, LONG_S, [])

    await store.give_back_others(ONE, [line.claim for line in known])

    again = await store.claim(TWO, 9, LONG_S, [])
    assert [(line.number, line.attempts) for line in again] == [(2, 1), (3, 1)]
    claims = [known[0].claim, other.claim]
    assert await store.renew(ONE, claims, LONG_S) == {known[0].claim}
    assert await store.renew(TWO, claims, LONG_S) == {other.claim}
    await store.give_back_others(ONE, [])
    assert [line.attempts for line in await store.claim(TWO, 9, LONG_S, [])] == [1]


async def test_tenants_come_in_turn(store: BatchStore) -> None:
    many = await started(store, 8)
    few = await started(store, 2, seconds=1, tenant=BOB)
    first = await store.claim(ONE, 4, LONG_S, ())
    assert sorted((c.batch_id == few.id, c.number) for c in first) == [(False, 1), (False, 2), (True, 1), (True, 2)]
    third = await started(store, 5, seconds=2, tenant="eve")
    assert {c.batch_id for c in await store.claim(TWO, 2, LONG_S, ())} == {third.id}
    assert {c.batch_id for c in await store.claim(TWO, 4, LONG_S, ())} == {third.id, many.id}


async def test_many_batches_of_one_tenant_hold_up_no_other_before_they_are_validated(store: BatchStore) -> None:
    await started(store, 1)
    for seconds in (1, 2, 3):
        await store.create(new(seconds), 10)
    await store.create(other := new(4, tenant=BOB), 10)
    taken = await store.take(ONE, LONG_S)
    assert taken is not None
    assert taken.id == other.id
    taken = await store.take(TWO, LONG_S)
    assert taken is not None
    assert taken.tenant == ANN


async def test_a_cancelled_batch_stops_and_keeps_what_there_is(store: BatchStore) -> None:
    batch = await started(store)
    claimed = await store.claim(ONE, 2, LONG_S, ())
    assert await store.settle(ONE, [outcome(claimed[0])]) == {claimed[0].claim}

    cancelling = await store.cancel(ANN, batch.id)

    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at is not None
    assert await store.renew(ONE, [claimed[1].claim], LONG_S) == set()
    assert await store.claim(ONE, 9, LONG_S, ()) == []
    ending = await store.take(TWO, LONG_S)
    assert ending is not None
    assert (ending.id, ending.ending) == (batch.id, "cancelled")
    assert await store.close_lines(ending, LONG_S)
    assert await store.settle(ONE, [outcome(claimed[1])]) == set()
    assert [d.text for d in await store.done_lines(ending, 0, 9, 999)] == [b"answer 1", None, None]
    assert await store.finish(ending, None, None)
    ended = await store.cancel(ANN, batch.id)
    assert (ended.status, ended.completed) == ("cancelled", 1)
    assert ended.cancelled_at is not None


async def test_a_batch_that_is_cancelled_while_it_is_validated_gets_no_more_lines(store: BatchStore) -> None:
    await store.create(batch := new(), 10)
    taken = await store.take(ONE, LONG_S)
    assert taken is not None
    await store.cancel(ANN, batch.id)
    assert not await store.add_lines(taken, lines(2), LONG_S)
    assert not await store.start(taken, 2, None)
    assert not await store.fail(taken, [])
    ending = await store.take(TWO, LONG_S)
    assert ending is not None
    assert ending.ending == "cancelled"


async def test_a_batch_past_its_window_expires(store: BatchStore) -> None:
    batch = await started(store, seconds=-86_401)
    assert await store.claim(ONE, 9, LONG_S, ()) == []
    ending = await store.take(ONE, LONG_S)
    assert ending is not None
    assert (ending.status, ending.ending) == ("finalizing", "expired")
    assert await store.finish(ending, None, None)
    assert (await store.batch(ANN, batch.id)).status == "expired"


async def test_what_a_lost_replica_was_finishing_another_one_finishes(stores: tuple[BatchStore, FileStore]) -> None:
    store, files = stores
    await started(store, 1)
    (line,) = await store.claim(ONE, 9, LONG_S, ())
    await store.settle(ONE, [outcome(line)])
    lost = await store.take(ONE, -1)
    ending = await store.take(TWO, LONG_S)
    assert lost is not None
    assert ending is not None
    assert ending.fence > lost.fence
    output = StoredFile(ANN, "out", "batch_output")
    await files.begin(output)
    for refused in (store.renew_batch(lost, 9), store.close_lines(lost, 9), store.finish(lost, output, None)):
        assert not await refused
    with pytest.raises(NotFound):
        await files.file(ANN, output.id)
    assert await store.finish(ending, output, None)


async def test_old_batches_that_have_ended_are_swept(store: BatchStore) -> None:
    open_ = await started(store, seconds=-1000)
    await store.create(failed := new(-999), 10)
    taken = await store.take(ONE, LONG_S)
    assert taken is not None
    await store.fail(taken, [])
    await store.sweep(2000)
    assert (await store.batch(ANN, failed.id)).status == "failed"
    await store.sweep(500)
    assert [b.id for b in (await store.batches(ANN, None, 9)).data] == [open_.id]


async def test_operators_see_what_has_not_ended_of_all_tenants(store: BatchStore) -> None:
    first = await started(store, 4)
    others = [new(1, tenant=BOB), new(2, tenant="cid")]
    for batch in others:
        await store.create(batch, 9)
    claimed = await store.claim(ONE, 3, LONG_S, [])
    await store.settle(ONE, [outcome(claimed[0]), outcome(claimed[1], is_error=True)])
    ended = await store.take(TWO, LONG_S)
    assert ended is not None
    await store.fail(ended, [])

    page = await store.open_batches(None, 1)
    assert [each.id for each in page.data] == [first.id]
    assert (page.data[0].running, page.data[0].batch.completed, page.data[0].batch.failed) == (1, 1, 1)
    assert page.has_more
    rest = await store.open_batches(page.last_id, 5)
    assert [each.id for each in rest.data] == [other.id for other in others if other.id != ended.id]
    assert not (await store.open_batches(others[1].id, 5)).data  # an end of the list, whether open or ended
    with pytest.raises(NotFound):
        await store.open_batches("batch_none", 5)


async def test_one_replica_at_a_time_has_the_figures(store: BatchStore) -> None:
    await started(store, 4, seconds=-100)
    await store.create(new(tenant=BOB), 9)
    claimed = await store.claim(ONE, 2, LONG_S, [])
    await store.settle(ONE, [outcome(claimed[0])])

    figures = await store.figures(ONE, LONG_S)

    assert figures is not None
    assert figures.open == {"in_progress": 1, "validating": 1}
    assert (figures.waiting, figures.running) == (2, 1)
    assert 100 <= figures.oldest_s < 160
    assert await store.figures(TWO, LONG_S) is None
    assert await store.figures(ONE, 0) == replace(figures, oldest_s=pytest.approx(figures.oldest_s, abs=30))
    assert await store.figures(TWO, LONG_S) is not None  # the first one's turn is over
    assert await store.figures(ONE, LONG_S) is None
    assert await store.figures(TWO, 0) is not None


async def test_nothing_at_all_is_fine(store: BatchStore) -> None:
    assert await store.settle(ONE, []) == set()
    assert await store.renew(ONE, [Claim("batch_none", 1, 1)], 1) == set()
    assert await store.take(ONE, 1) is None
    assert await count_open(store) == 0


async def test_no_statement_touches_more_than_a_page_of_lines(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "PAGE_LINES", 2)
    store, most = PostgresBatches(database), 0
    fetch = database.fetch

    async def counted(query: str, *arguments: Any) -> list[Any]:
        nonlocal most
        rows = await fetch(query, *arguments)
        most = max(most, len(rows))
        return rows

    await started(store, 5)
    await store.cancel(ANN, (await store.batches(ANN, None, 1)).data[0].id)
    ending = await store.take(ONE, LONG_S)
    assert ending is not None
    monkeypatch.setattr(database, "fetch", counted)
    assert await store.close_lines(ending, LONG_S)
    assert await fetch("SELECT FROM batch_lines WHERE is_open OR body IS NOT NULL") == []
    assert len(await store.done_lines(ending, 0, 9, 999)) == 5
    most = 0
    assert await store.finish(ending, None, None)
    assert await fetch("SELECT FROM batch_lines") == []
    assert most == 2


async def test_lines_that_stayed_when_their_batch_had_ended_are_swept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresBatches(database)
    open_, ended = await started(store, 3), await started(store, 3, seconds=1)
    with monkeypatch.context() as lost:
        lost.setitem(postgres.SQL, "drop_lines", "SELECT 1 AS number, $1::text, $2::integer, $3::integer")
        await store.cancel(ANN, ended.id)
        ending = await store.take(ONE, LONG_S)
        assert ending is not None
        await store.close_lines(ending, LONG_S)
        await store.finish(ending, None, None)
    assert len(await database.fetch("SELECT FROM batch_lines")) == 6
    await store.sweep(9_999)
    assert [row["batch_id"] for row in await database.fetch("SELECT * FROM batch_lines")] == [open_.id] * 3
