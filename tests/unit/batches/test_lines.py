"""The lines of a batch on one replica: what fails, what is refused, what is lost."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

from deployments.batches import lines as module
from deployments.batches import pacing
from deployments.batches.lines import KeyGone, Lines
from deployments.batches.memory import MemoryBatches
from deployments.batches.types import Batch, Claim, ClaimedLine, DoneLine, LineAnswer, NewLine, Outcome
from deployments.errors import HistoryUnavailable
from deployments.files.memory import MemoryFiles

ANN = "ann"
WELL = LineAnswer(200, "req_1", b'{"usage": {"prompt_tokens": 2, "completion_tokens": 3}}')


class Answers:
    """A door that says what the test wants, and counts what came."""

    def __init__(self, say: Callable[[ClaimedLine, int], LineAnswer]) -> None:
        self._say = say
        self.asked = Counter[int]()
        self.ended = Counter[str]()
        self.most = 0
        self._now = 0

    async def answer(self, line: ClaimedLine) -> LineAnswer:
        self.asked[line.number] += 1
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(0.001)
            return self._say(line, self.asked[line.number])
        finally:
            self._now -= 1

    def line_ended(self, outcome: str) -> None:
        self.ended[outcome] += 1

    def lines_running(self, number: int) -> None: ...


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATHER_S", "REST_S", "AWAY_S"):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    monkeypatch.setattr(pacing, "SPACE_S", 0.0)
    monkeypatch.setattr(pacing, "MAX_SPACE_S", 0.0)


async def started(store: MemoryBatches, count: int) -> Batch:
    await store.create(Batch(ANN, "key_1", "/v1/chat/completions", "file-1"), 9)
    batch = await store.take("validator", 60)
    assert batch is not None
    await store.add_lines(batch, [NewLine(at, f"id-{at}", b"{}") for at in range(1, count + 1)], 60)
    await store.start(batch, count, None)
    return batch


@asynccontextmanager
async def answering(
    door: Answers, count: int = 3, limit: int = 4, lease_s: float = 60
) -> AsyncGenerator[tuple[MemoryBatches, Batch]]:
    store = MemoryBatches(MemoryFiles())
    batch = await started(store, count)
    lines = Lines(store, "replica-1", lease_s, lambda: limit, door)
    lines.open(door)
    try:
        yield store, batch
    finally:
        await lines.aclose(0.05)


async def outcomes(store: MemoryBatches, batch: Batch) -> list[DoneLine]:
    """What came of all lines, once there is no line left to answer."""
    while (found := await store.batch(ANN, batch.id)).completed + found.failed < found.total:
        await asyncio.sleep(0.01)
    return await store.done_lines(batch, 0, 1000, 10**9)


async def test_no_more_run_at_once_than_may_and_each_runs_once() -> None:
    door = Answers(lambda _line, _times: WELL)
    async with answering(door, 50) as (store, batch):
        done = await outcomes(store, batch)
        assert (await store.batch(ANN, batch.id)).tokens.output == 150
    assert [line.is_error for line in done] == [False] * 50
    assert set(door.asked.values()) == {1}
    assert door.most == 4
    assert door.ended == {"completed": 50}


async def test_what_is_refused_for_now_is_answered_later_and_costs_no_attempt() -> None:
    busy = LineAnswer(429, "req_1", b"{}", 0.02)
    door = Answers(lambda line, times: busy if line.number == 2 and times <= 6 else WELL)
    async with answering(door) as (store, batch):
        done = await outcomes(store, batch)
    assert [line.is_error for line in done] == [False] * 3
    assert door.asked[2] == 7


async def test_a_batch_that_is_refused_rests_and_others_go_on() -> None:
    door = Answers(lambda line, _times: LineAnswer(503, "", b"{}", 600) if line.tenant == ANN else WELL)
    async with answering(door, 20) as (store, batch):
        while not door.asked:
            await asyncio.sleep(0.01)
        await store.create(Batch("bob", "key_2", "/v1/completions", "file-2"), 9)
        other = await store.take("validator", 60)
        assert other is not None
        await store.add_lines(other, [NewLine(1, "id-1", b"{}")], 60)
        await store.start(other, 1, None)
        while not (await store.batch("bob", other.id)).completed:
            await asyncio.sleep(0.01)
        assert (await store.batch(ANN, batch.id)).completed == 0
    assert sum(door.asked.values()) <= 9


async def test_what_will_never_succeed_fails_at_once() -> None:
    door = Answers(lambda _line, _times: LineAnswer(429, "req_1", b'{"error": {"code": "x"}}', None, False))
    async with answering(door, 1) as (store, batch):
        (done,) = await outcomes(store, batch)
    assert done.is_error
    assert json.loads(done.text or b"")["response"] == {
        "status_code": 429,
        "request_id": "req_1",
        "body": {"error": {"code": "x"}},
    }
    assert door.asked == {1: 1}


async def test_a_line_that_fails_is_tried_three_times() -> None:
    door = Answers(lambda _line, times: LineAnswer(500, f"req_{times}", b"{}"))
    async with answering(door, 1) as (store, batch):
        (done,) = await outcomes(store, batch)
    assert json.loads(done.text or b"")["response"]["request_id"] == "req_3"
    assert door.ended == {"retried": 2, "failed": 1}


def explode(_line: ClaimedLine, _times: int) -> LineAnswer:
    raise RuntimeError("broken")


async def test_what_nobody_foresaw_fails_the_line_and_not_the_batch() -> None:
    door = Answers(lambda line, times: explode(line, times) if line.number == 1 else WELL)
    async with answering(door) as (store, batch):
        done = await outcomes(store, batch)
    assert [line.is_error for line in done] == [True, False, False]


async def test_a_line_that_kills_replicas_is_given_up() -> None:
    door = Answers(lambda _line, _times: WELL)
    async with answering(door, 1, limit=0) as (store, batch):
        for _ in range(3):
            assert await store.claim("lost", 9, -1, ())
    async with answering(door, 0):
        lines = Lines(store, "replica-2", 60, lambda: 4, door)
        lines.open(door)
        (done,) = await outcomes(store, batch)
        await lines.aclose(0)
    assert json.loads(done.text or b"")["error"]["code"] == "server_error"
    assert not door.asked


def gone(_line: ClaimedLine, _times: int) -> LineAnswer:
    raise KeyGone


async def test_the_batch_of_a_key_that_is_gone_is_cancelled() -> None:
    async with answering(Answers(gone)) as (store, batch):
        while (await store.batch(ANN, batch.id)).status != "cancelling":
            await asyncio.sleep(0.01)


def away(_line: ClaimedLine, _times: int) -> LineAnswer:
    raise HistoryUnavailable


async def test_while_keys_cannot_be_checked_nothing_fails() -> None:
    door = Answers(lambda line, times: away(line, times) if times < 3 else WELL)
    async with answering(door) as (store, batch):
        assert [line.is_error for line in await outcomes(store, batch)] == [False] * 3


class Forever(Answers):
    """A door that never answers."""

    stopped = 0

    async def answer(self, line: ClaimedLine) -> LineAnswer:
        self.asked[line.number] += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped += 1
        return WELL


async def test_a_replica_that_closes_leaves_its_lines_to_others_at_once() -> None:
    door = Forever(lambda _line, _times: WELL)
    async with answering(door) as (store, _):
        while len(door.asked) < 3:
            await asyncio.sleep(0.01)
    assert door.stopped == 3
    claimed = await store.claim("other", 9, 60, ())
    assert [(line.number, line.attempts) for line in claimed] == [(1, 1), (2, 1), (3, 1)]


async def test_a_claim_whose_reply_is_lost_costs_no_attempt_and_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    claim, lost = MemoryBatches.claim, Counter[str]()

    async def unheard(
        store: MemoryBatches, runner: str, limit: int, lease_s: float, skipped: Collection[str]
    ) -> list[ClaimedLine]:
        claimed = await claim(store, runner, limit, lease_s, skipped)
        if claimed and lost["replies"] < 5:  # more than a line's attempts
            lost["replies"] += 1
            raise HistoryUnavailable
        return claimed

    monkeypatch.setattr(MemoryBatches, "claim", unheard)
    door = Answers(lambda _line, _times: WELL)
    async with asyncio.timeout(10), answering(door, 3) as (store, batch):
        assert [line.is_error for line in await outcomes(store, batch)] == [False] * 3
    assert (lost["replies"], door.asked) == (5, {1: 1, 2: 1, 3: 1})


@pytest.mark.parametrize("retires", [False, True])
async def test_what_a_replica_that_stops_was_just_claiming_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch, retires: bool
) -> None:
    claim, begun = MemoryBatches.claim, asyncio.Event()

    async def slow(
        store: MemoryBatches, runner: str, limit: int, lease_s: float, skipped: Collection[str]
    ) -> list[ClaimedLine]:
        claimed = await claim(store, runner, limit, lease_s, skipped)
        begun.set()
        await asyncio.sleep(60 if runner == "replica-1" else 0)
        return claimed

    monkeypatch.setattr(MemoryBatches, "claim", slow)
    store = MemoryBatches(MemoryFiles())
    batch = await started(store, 3)
    door = Answers(lambda _line, _times: WELL)
    lines = Lines(store, "replica-1", 4, lambda: 4, door)
    lines.open(door)
    await begun.wait()
    if retires:
        lines.retire()
        async with asyncio.timeout(3.5):  # before the lease lapses
            while not (claimed := await store.claim("other", 9, 60, ())):
                await asyncio.sleep(0.01)
        await lines.aclose(0)
    else:
        await lines.aclose(0)
        claimed = await store.claim("other", 9, 60, ())
    assert [(line.batch_id, line.number, line.attempts) for line in claimed] == [(batch.id, at, 1) for at in (1, 2, 3)]


async def test_what_is_cancelled_elsewhere_stops_here(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Forever(lambda _line, _times: WELL)
    async with answering(door, lease_s=0.2) as (store, batch):
        while len(door.asked) < 3:
            await asyncio.sleep(0.01)
        await store.cancel(ANN, batch.id)
        while door.stopped < 3:
            await asyncio.sleep(0.01)


async def test_a_long_answer_keeps_its_lease() -> None:
    door = Forever(lambda _line, _times: WELL)
    async with answering(door, 1, lease_s=0.4) as (store, _):
        while not door.asked:
            await asyncio.sleep(0.01)
        for _ in range(20):
            assert await store.claim("other", 9, 60, ()) == []
            await asyncio.sleep(0.05)
    assert door.asked == {1: 1}


async def test_large_outcomes_are_written_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    settle = MemoryBatches.settle

    async def measured(store: MemoryBatches, runner: str, given: Sequence[Outcome]) -> set[Claim]:
        sizes.append(sum(len(outcome.text) for outcome in given))
        return await settle(store, runner, given)

    monkeypatch.setattr(MemoryBatches, "settle", measured)
    monkeypatch.setattr(module, "SETTLED_BYTES", 2_500)
    door = Answers(lambda _line, _times: LineAnswer(200, "req_1", b'{"text": "%s"}' % (b"x" * 1_000)))
    async with answering(door, 8, 8) as (store, batch):
        await outcomes(store, batch)
    assert sum(sizes) > 8_000
    assert max(sizes) <= 2_500
