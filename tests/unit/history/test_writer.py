"""Writing behind the answer: order, retries, bounds, and what can never be written."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from deployments.errors import BadRequest, HistoryUnavailable
from deployments.history import writer as module
from deployments.history.memory import MemoryHistory
from deployments.history.types import Item, NewItem
from deployments.history.writer import HistoryWriter

ANN = "ann"


class Forgetful(MemoryHistory):
    """Writes, and then says that it could not: the answer was lost on its way."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def append(self, tenant: str, conversation_id: str, items: Sequence[NewItem]) -> list[Item]:
        stored = await super().append(tenant, conversation_id, items)
        if self.times:
            self.times -= 1
            raise HistoryUnavailable
        return stored


@pytest.fixture(autouse=True)
def plain_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's logger as it is before a replica configures it, whatever an earlier test left."""
    ours = logging.getLogger("deployments")
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(module, "MAX_DELAY_S", 0.01)


@pytest.fixture
def store() -> MemoryHistory:
    return MemoryHistory()


@pytest.fixture
async def writer(store: MemoryHistory) -> AsyncGenerator[HistoryWriter]:
    writer = HistoryWriter(store, max_pending=10)
    await writer.open()
    yield writer
    await writer.drain(0)


async def made(store: MemoryHistory, **metadata: Any) -> str:
    return (await store.create_conversation(ANN, metadata)).id


async def words(store: MemoryHistory, conversation: str) -> list[str]:
    items = (await store.items(ANN, conversation, limit=1000, order="asc")).data
    return [item.payload["content"][0]["text"] for item in items]


def say(word: str) -> list[NewItem]:
    return [NewItem.message("user", word)]


async def test_what_is_submitted_is_written_in_order(store: MemoryHistory, writer: HistoryWriter) -> None:
    conversation = await made(store)
    for number in range(5):
        writer.submit(ANN, conversation, say(str(number)))
    assert writer.pending == 5

    assert await writer.drain(1) == 0

    assert await words(store, conversation) == ["0", "1", "2", "3", "4"]
    assert (writer.pending, writer.written, writer.failed) == (0, 5, 0)


async def test_nothing_is_lost_while_the_store_is_away(store: MemoryHistory, writer: HistoryWriter) -> None:
    conversations = [await made(store) for _ in range(3)]
    store.is_away = True
    for number in range(3):
        for conversation in conversations:
            writer.submit(ANN, conversation, say(str(number)))
    await asyncio.sleep(0.05)
    assert (writer.pending, writer.written) == (9, 0)

    store.is_away = False

    assert await writer.drain(1) == 0
    for conversation in conversations:
        assert await words(store, conversation) == ["0", "1", "2"]


async def test_a_write_with_unknown_outcome_is_written_once() -> None:
    store = Forgetful(times=3)
    conversation = await made(store)
    writer = HistoryWriter(store, max_pending=10)
    await writer.open()
    writer.submit(ANN, conversation, say("once"))
    writer.submit(ANN, conversation, say("then"))

    assert await writer.drain(1) == 0

    assert await words(store, conversation) == ["once", "then"]


async def test_past_the_bound_a_new_question_is_refused_and_a_promised_answer_is_not(
    store: MemoryHistory, writer: HistoryWriter
) -> None:
    waiting = [await made(store) for _ in range(10)]
    late = await made(store)
    store.is_away = True
    for conversation in waiting:
        writer.ensure_room()
        writer.submit(ANN, conversation, say("question"))

    with pytest.raises(HistoryUnavailable) as caught:
        writer.ensure_room()
    assert caught.value.retry_after_s
    with pytest.raises(HistoryUnavailable):
        writer.submit(ANN, late, say("question"))
    for conversation in waiting:
        writer.submit(ANN, conversation, say("answer"), is_promised=True)
    with pytest.raises(HistoryUnavailable):
        writer.submit(ANN, waiting[0], say("too much"))

    store.is_away = False
    assert await writer.drain(1) == 0
    for conversation in waiting:
        assert await words(store, conversation) == ["question", "answer"]
    assert await words(store, late) == []


async def test_bytes_are_bounded_too(store: MemoryHistory) -> None:
    conversation = await made(store)
    writer = HistoryWriter(store, max_pending=10, max_pending_bytes=100)
    writer.submit(ANN, conversation, say("x" * 200))

    with pytest.raises(HistoryUnavailable):
        writer.ensure_room()
    await writer.open()
    await asyncio.sleep(0.01)
    writer.ensure_room()
    await writer.drain(1)


async def test_what_can_never_be_written_is_dropped_without_its_words_and_blocks_nobody(
    store: MemoryHistory, writer: HistoryWriter, caplog: pytest.LogCaptureFixture
) -> None:
    kept, deleted = await made(store), await made(store)
    store.is_away = True
    writer.submit(ANN, deleted, say("secret"))
    writer.submit(ANN, deleted, say("secret too"))
    writer.submit(ANN, kept, say("kept"))
    store.is_away = False
    await store.delete_conversation(ANN, deleted)

    with caplog.at_level(logging.DEBUG):
        assert await writer.drain(1) == 0

    assert await words(store, kept) == ["kept"]
    assert (writer.written, writer.failed) == (1, 2)
    assert [record.message for record in caplog.records] == ["a message could not be stored"] * 2
    assert "secret" not in repr([record.__dict__ for record in caplog.records])
    assert caplog.records[0].__dict__["reason"] == "not_found"


async def test_an_item_waits_a_while_for_its_parent(store: MemoryHistory, writer: HistoryWriter) -> None:
    conversation = await made(store)
    question = NewItem.message("user", "question")
    writer.submit(ANN, conversation, [NewItem.message("assistant", "answer").after(question.id)])
    await asyncio.sleep(0.003)

    await store.append(ANN, conversation, [question])

    assert await writer.drain(1) == 0
    assert await words(store, conversation) == ["question", "answer"]


async def test_items_whose_parent_never_comes_follow_the_newest_item(
    store: MemoryHistory, writer: HistoryWriter
) -> None:
    conversation = await made(store)
    (newest,) = await store.append(ANN, conversation, say("newest"))
    question = NewItem.message("user", "question")
    answer = NewItem.message("assistant", "answer")
    writer.submit(ANN, conversation, [question.after("msg_nobody")])
    writer.submit(ANN, conversation, [answer.after(question.id)])
    writer.submit(ANN, conversation, say("next"))

    assert await writer.drain(2) == 0
    assert (writer.failed, await words(store, conversation)) == (0, ["newest", "question", "answer", "next"])
    assert (await store.item(ANN, conversation, question.id)).parent_id == newest.id
    assert (await store.item(ANN, conversation, answer.id)).parent_id == question.id


async def test_what_is_not_json_is_refused_at_once(store: MemoryHistory, writer: HistoryWriter) -> None:
    conversation = await made(store)

    with pytest.raises(BadRequest):
        writer.submit(ANN, conversation, say("\ud800"))
    assert writer.pending == 0


async def test_an_error_that_nobody_foresaw_does_not_end_the_writing() -> None:
    class Broken(MemoryHistory):
        async def append(self, tenant: str, conversation_id: str, items: Sequence[NewItem]) -> list[Item]:
            if items[0].payload["content"][0]["text"] == "bad":
                raise ZeroDivisionError
            return await super().append(tenant, conversation_id, items)

    store = Broken()
    first, second = await made(store), await made(store)
    writer = HistoryWriter(store, max_pending=10)
    await writer.open()
    for _ in range(module.WORKERS):
        writer.submit(ANN, first, say("bad"))
    writer.submit(ANN, second, say("good"))

    assert await writer.drain(5) == 0
    assert (writer.failed, await words(store, second)) == (module.WORKERS, ["good"])


async def test_drain_tells_what_is_left_and_takes_nothing_more(store: MemoryHistory, writer: HistoryWriter) -> None:
    conversation = await made(store)
    store.is_away = True
    writer.submit(ANN, conversation, say("lost"))

    assert await writer.drain(0.05) == 1
    with pytest.raises(HistoryUnavailable, match="shutting down"):
        writer.submit(ANN, conversation, say("late"))


async def test_a_promised_answer_is_taken_while_draining(store: MemoryHistory, writer: HistoryWriter) -> None:
    conversation = await made(store)
    store.is_away = True
    writer.submit(ANN, conversation, say("question"))
    draining = asyncio.create_task(writer.drain(5))
    await asyncio.sleep(0.01)

    writer.submit(ANN, conversation, say("answer"), is_promised=True)
    store.is_away = False

    assert await draining == 0
    assert await words(store, conversation) == ["question", "answer"]
