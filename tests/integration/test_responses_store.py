"""The promises of the store of responses, kept by the real one and by the one in memory alike."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.errors import Conflict, ContextTooLong, NotFound
from deployments.history.memory import MemoryHistory
from deployments.history.postgres import PostgresHistory
from deployments.history.store import HistoryStore
from deployments.history.types import PAGE_BYTES, ROOT, Item, NewItem, new_id
from deployments.infra.postgres.database import Database
from deployments.responses.memory import MemoryResponses
from deployments.responses.postgres import PostgresResponses
from deployments.responses.store import ResponseStore
from deployments.responses.types import Batch, Ending, NewResponse

ANN, BOB = "ann", "bob"
PLENTY = 1_000_000


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> tuple[HistoryStore, ResponseStore]:
    if request.param == "memory":
        history = MemoryHistory()
        return history, MemoryResponses(history)
    database = request.getfixturevalue("database")
    return PostgresHistory(database), PostgresResponses(database)


@pytest.fixture
def history(stores: tuple[HistoryStore, ResponseStore]) -> HistoryStore:
    return stores[0]


@pytest.fixture
def store(stores: tuple[HistoryStore, ResponseStore]) -> ResponseStore:
    return stores[1]


def asked(text: str = "hello", parent: str = ROOT, **more: Any) -> NewResponse:
    item = NewItem.message("user", text).after(parent)
    given = {
        "id": new_id("resp"),
        "tenant": ANN,
        "key_id": "key_1",
        "conversation_id": new_id("conv"),
        "has_own_conversation": True,
        "previous_id": None,
        "request": {"model": "quick", "metadata": {"a": "\0"}},
        "created_at": datetime.now(UTC),
        "input": [item],
    }
    return NewResponse(**{**given, **more})


def running(runner: str = "replica-1", **more: Any) -> NewResponse:
    return asked(runner=runner, status="queued", **more)


def ended(new: NewResponse, *words: str, **more: Any) -> Ending:
    output: list[NewItem] = []
    for word in words:
        output.append(NewItem.message("assistant", word).after(output[-1].id if output else new.input[-1].id))
    return Ending(**{"status": "completed", "output": output, "completed_at": datetime.now(UTC), **more})


def texts(items: list[Item] | tuple[Item, ...]) -> list[str]:
    return [item.payload["content"][0]["text"] for item in items]


async def test_a_response_is_kept_from_its_beginning_to_its_end(store: ResponseStore) -> None:
    new = asked()
    await store.begin(new)
    begun = await store.response(ANN, new.id)
    assert (begun.status, begun.output, begun.completed_at) == ("in_progress", (), None)
    assert (begun.request, begun.is_hidden, begun.created_at) == (
        {"model": "quick", "metadata": {"a": "\ufffd"}},
        True,
        new.created_at,
    )

    assert await store.end(ANN, new.id, None, ended(new, "one", "two", usage={"input_tokens": 1}))

    found = await store.response(ANN, new.id)
    assert (found.status, found.usage) == ("completed", {"input_tokens": 1})
    assert [item["content"][0]["text"] for item in found.output] == ["one", "two"]
    assert texts((await store.input_items(ANN, new.id, None, 10, "asc")).data) == ["hello"]


@pytest.mark.parametrize("runner", [None, "replica-1"])
async def test_who_answered_in_place_of_the_model_is_kept(store: ResponseStore, runner: str | None) -> None:
    new = running() if runner else asked()
    await store.begin(new)
    assert await store.end(ANN, new.id, runner, ended(new, "one", answered_by="second"))
    found = await store.response(ANN, new.id)
    assert (found.model, found.request["model"]) == ("second", "quick")
    assert not await store.end(ANN, new.id, runner, ended(new, "one", answered_by="third"))
    assert (await store.response(ANN, new.id)).model == "second"


async def test_repeating_a_write_changes_nothing(store: ResponseStore) -> None:
    new = asked()
    ending = ended(new, "one")
    await asyncio.gather(*(store.begin(new) for _ in range(5)))
    results = await asyncio.gather(*(store.end(ANN, new.id, None, ending) for _ in range(5)))
    await store.begin(new)
    await store.end(ANN, new.id, None, ended(new, "another"))

    assert sorted(results) == [False] * 4 + [True]
    assert len((await store.response(ANN, new.id)).output) == 1
    assert len((await store.continuation(ANN, new.id, PLENTY, PLENTY)).context.items) == 2


async def test_a_response_continues_another_and_branches(store: ResponseStore) -> None:
    first = asked("first")
    await store.begin(first)
    await store.end(ANN, first.id, None, ended(first, "answer"))
    before = await store.continuation(ANN, first.id, PLENTY, PLENTY)
    assert before.context.leaf
    branches = []
    for word in ("second", "edited"):
        new = asked(
            word,
            before.context.leaf,
            conversation_id=before.conversation_id,
            has_own_conversation=False,
            previous_id=first.id,
        )
        await store.begin(new)
        await store.end(ANN, new.id, None, ended(new, f"answer to {word}"))
        branches.append(new)

    for new, word in zip(branches, ("second", "edited"), strict=True):
        context = (await store.continuation(ANN, new.id, PLENTY, PLENTY)).context
        assert texts(context.items) == ["first", "answer", word, f"answer to {word}"]
        assert texts((await store.input_items(ANN, new.id, None, 10, "asc")).data) == [word]
    assert texts((await store.continuation(ANN, branches[0].id, 2, PLENTY)).context.items) == [
        "second",
        "answer to second",
    ]


async def test_a_hidden_conversation_is_reached_by_no_other_way(store: ResponseStore, history: HistoryStore) -> None:
    new = asked()
    await store.begin(new)

    assert (await history.conversations(ANN)).data == []
    for attempt in (
        lambda: history.conversation(ANN, new.conversation_id),
        lambda: history.items(ANN, new.conversation_id),
        lambda: history.item(ANN, new.conversation_id, new.input[0].id),
        lambda: history.append(ANN, new.conversation_id, [NewItem.message("user", "x")]),
        lambda: history.context(ANN, new.conversation_id, None, PLENTY, PLENTY),
        lambda: history.delete_item(ANN, new.conversation_id, new.input[0].id),
        lambda: history.update_conversation(ANN, new.conversation_id, title="x"),
        lambda: history.delete_conversation(ANN, new.conversation_id),
        lambda: history.conversations(ANN, after=new.conversation_id),
    ):
        with pytest.raises(NotFound):
            await attempt()


async def test_items_go_into_a_conversation_that_is_named(store: ResponseStore, history: HistoryStore) -> None:
    made = await history.create_conversation(ANN, {})
    new = asked(conversation_id=made.id, has_own_conversation=False)
    await store.begin(new)
    await store.end(ANN, new.id, None, ended(new, "answer"))

    assert texts((await history.items(ANN, made.id, order="asc")).data) == ["hello", "answer"]
    assert not (await store.response(ANN, new.id)).is_hidden
    await store.delete(ANN, new.id)
    assert len((await history.items(ANN, made.id)).data) == 2


async def test_a_response_goes_with_its_conversation(store: ResponseStore, history: HistoryStore) -> None:
    made = await history.create_conversation(ANN, {})
    new = asked(conversation_id=made.id, has_own_conversation=False)
    await store.begin(new)
    await history.delete_conversation(ANN, made.id)

    with pytest.raises(NotFound):
        await store.response(ANN, new.id)
    with pytest.raises(NotFound):
        await store.begin(asked(conversation_id=made.id, has_own_conversation=False))


async def test_an_item_to_continue_that_is_not_there_is_a_conflict(store: ResponseStore) -> None:
    new = asked(parent="msg_nobody")
    with pytest.raises(Conflict):
        await store.begin(new)
    with pytest.raises(NotFound):
        await store.response(ANN, new.id)


async def test_what_is_deleted_is_gone_and_its_hidden_conversation_with_the_last(store: ResponseStore) -> None:
    first = asked("first")
    await store.begin(first)
    second = asked("second", first.input[-1].id, conversation_id=first.conversation_id, has_own_conversation=False)
    await store.begin(second)

    await store.delete(ANN, first.id)
    for attempt in (
        lambda: store.response(ANN, first.id),
        lambda: store.continuation(ANN, first.id, PLENTY, PLENTY),
        lambda: store.input_items(ANN, first.id, None, 1, "asc"),
        lambda: store.delete(ANN, first.id),
        lambda: store.cancel(ANN, first.id),
        lambda: store.events(ANN, first.id, -1, 1),
    ):
        with pytest.raises(NotFound):
            await attempt()
    assert not await store.end(ANN, first.id, None, ended(first, "late"))
    assert len((await store.continuation(ANN, second.id, PLENTY, PLENTY)).context.items) == 2
    await store.delete(ANN, second.id)
    with pytest.raises(NotFound):
        await store.begin(replace(second, id=new_id("resp")))


async def test_another_tenant_sees_nothing(store: ResponseStore) -> None:
    new = running()
    await store.begin(new)
    for attempt in (
        lambda: store.response(BOB, new.id),
        lambda: store.show(BOB, new.id),
        lambda: store.cancel(BOB, new.id),
        lambda: store.delete(BOB, new.id),
        lambda: store.events(BOB, new.id, -1, 1),
        lambda: store.continuation(BOB, new.id, PLENTY, PLENTY),
        lambda: store.input_items(BOB, new.id, None, 1, "asc"),
        lambda: store.begin(asked(tenant=BOB, conversation_id=new.conversation_id, has_own_conversation=False)),
    ):
        with pytest.raises(NotFound):
            await attempt()
    assert not await store.end(BOB, new.id, "replica-1", ended(new, "x"))
    assert (await store.response(ANN, new.id)).status == "queued"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_input_items_come_in_pages(store: ResponseStore, order: Any) -> None:
    items: list[NewItem] = []
    for word in "abcde":
        items.append(NewItem.message("user", word).after(items[-1].id if items else ROOT))
    new = asked(input=items)
    await store.begin(new)
    seen: list[str] = []
    after = None
    while True:
        page = await store.input_items(ANN, new.id, after, 2, order)
        seen += texts(page.data)
        after = page.last_id
        if not page.has_more:
            break
    assert seen == list("abcde")[:: 1 if order == "asc" else -1]
    with pytest.raises(NotFound):
        await store.input_items(ANN, new.id, "msg_nobody", 2, order)


async def test_events_are_followed_to_their_end(store: ResponseStore) -> None:
    new = running()
    await store.begin(new)
    assert not (await store.events(ANN, new.id, -1, 10)).is_over
    assert await store.add_events("replica-1", {new.id: None})
    assert (await store.response(ANN, new.id)).status == "in_progress"
    for _ in range(2):
        assert await store.add_events("replica-1", {new.id: Batch(3, b"three")})
    assert await store.end(ANN, new.id, "replica-1", ended(new, "x", frames=b"five", last_number=5))

    assert (await store.events(ANN, new.id, -1, 1)).batches == (Batch(3, b"three"),)
    assert not (await store.events(ANN, new.id, -1, 1)).is_over
    rest = await store.events(ANN, new.id, 3, 10)
    assert (rest.batches, rest.is_over) == ((Batch(5, b"five"),), True)
    assert not await store.add_events("replica-1", {new.id: Batch(6, b"six")})


async def test_the_events_of_several_responses_are_written_at_once(store: ResponseStore) -> None:
    one, two, silent, foreign = running(), running(), running(), running("replica-2")
    for new in (one, two, silent, foreign):
        await store.begin(new)
    batches = {one.id: Batch(1, b"one"), two.id: Batch(4, b"two"), silent.id: None, foreign.id: Batch(1, b"no")}
    assert await store.add_events("replica-1", batches) == {one.id, two.id, silent.id}
    written = [(await store.events(ANN, new.id, -1, 10)).batches for new in (one, two, silent, foreign)]
    assert written == [(Batch(1, b"one"),), (Batch(4, b"two"),), (), ()]


async def test_what_runs_in_a_conversation_is_found_without_its_id(store: ResponseStore, history: HistoryStore) -> None:
    conversation = (await history.create_conversation(ANN, {})).id
    own = {"conversation_id": conversation, "has_own_conversation": False}
    first, second, waited_for, done = running(**own), running(**own), asked(**own), running(**own)
    for new in (first, second, waited_for, done):
        await store.begin(new)
    await store.end(ANN, done.id, "replica-1", ended(done, "x"))
    await store.begin(running())
    assert [found.id for found in await store.running(ANN, conversation, 10)] == [second.id, first.id]
    assert [found.id for found in await store.running(ANN, conversation, 1)] == [second.id]
    await store.cancel(ANN, second.id)
    assert [found.id for found in await store.running(ANN, conversation, 10)] == [first.id]
    empty = (await history.create_conversation(ANN, {})).id
    assert await store.running(ANN, empty, 10) == []
    for tenant, unknown in ((BOB, conversation), (ANN, "conv_nobody"), (ANN, running().conversation_id)):
        with pytest.raises(NotFound):
            await store.running(tenant, unknown, 10)


async def test_a_cancelled_response_stops_and_stays_cancelled(store: ResponseStore) -> None:
    new = running()
    await store.begin(new)
    cancelled = await store.cancel(ANN, new.id)
    assert cancelled.status == "cancelled" and cancelled.completed_at
    assert not await store.add_events("replica-1", {new.id: None})
    assert not (await store.events(ANN, new.id, -1, 10)).is_over
    assert await store.end(ANN, new.id, "replica-1", ended(new, "part", frames=b"end", last_number=1))

    found = await store.cancel(ANN, new.id)
    assert (found.status, found.completed_at, len(found.output)) == ("cancelled", cancelled.completed_at, 1)
    assert (await store.events(ANN, new.id, -1, 10)).is_over


async def test_cancelling_what_a_client_waits_for_or_what_has_ended_does_nothing(store: ResponseStore) -> None:
    new, done = asked(), running()
    await store.begin(new)
    await store.begin(done)
    await store.end(ANN, done.id, "replica-1", ended(done, "x"))
    assert (await store.cancel(ANN, new.id)).status == "in_progress"
    assert (await store.cancel(ANN, done.id)).status == "completed"


async def test_a_silent_replica_loses_its_responses_to_one_other(store: ResponseStore) -> None:
    new, alive = running(), running("replica-2")
    await store.begin(new)
    await store.add_events("replica-1", {new.id: Batch(1, b"unseen")})
    await store.begin(alive)
    assert await store.claim("replica-3", 60, 10) == []
    await store.release("replica-1")

    claims = await asyncio.gather(*(store.claim(f"replica-{n}", 60, 10) for n in range(3, 9)))

    ((claim,),) = [found for found in claims if found]
    assert (claim.response.id, claim.was_shown, claim.attempts) == (new.id, False, 1), "it was left, not lost"
    assert (await store.events(ANN, new.id, -1, 10)).batches == ()
    assert not await store.add_events("replica-1", {new.id: Batch(2, b"late")})
    assert not await store.end(ANN, new.id, "replica-1", ended(new, "late"))
    assert (await store.response(ANN, new.id)).output == ()
    assert await store.add_events("replica-2", {alive.id: None})
    attempts = [one.attempts for one in await store.claim("replica-9", 0, 10) if one.response.id == new.id]
    assert attempts == [2], "it was lost"


async def test_a_claim_says_what_was_seen(store: ResponseStore) -> None:
    new = running()
    await store.begin(new)
    await store.add_events("replica-1", {new.id: Batch(4, b"seen")})
    assert (await store.show(ANN, new.id)).status == "in_progress"
    await store.release("replica-1")

    (claim,) = await store.claim("replica-2", 60, 10)

    assert (claim.was_shown, claim.last_number) == (True, 4)
    assert (await store.events(ANN, new.id, -1, 10)).batches == (Batch(4, b"seen"),)
    assert await store.end(ANN, new.id, "replica-2", ended(new, status="failed", error={"code": "x", "message": "y"}))
    assert (await store.response(ANN, new.id)).error == {"code": "x", "message": "y"}


async def test_a_sweep_drops_old_events_and_ends_what_was_abandoned(store: ResponseStore) -> None:
    new, waited_for = running(), asked(created_at=datetime.now(UTC) - timedelta(hours=1))
    await store.begin(new)
    await store.begin(waited_for)
    await store.add_events("replica-1", {new.id: Batch(1, b"x")})

    await store.sweep(3600, 1800)
    assert len((await store.events(ANN, new.id, -1, 10)).batches) == 1
    assert (await store.response(ANN, waited_for.id)).status == "in_progress"
    await asyncio.sleep(0.01)
    await store.sweep(0.001, 0.001)

    assert (await store.events(ANN, new.id, -1, 10)).batches == ()
    assert (await store.response(ANN, new.id)).status == "in_progress"
    assert (await store.response(ANN, waited_for.id)).status == "failed"


async def test_items_are_found_by_their_ids_alone(history: HistoryStore, store: ResponseStore) -> None:
    new = asked("hello")
    await store.begin(new)
    (said,) = new.input
    talk = await history.create_conversation(ANN, {}, [NewItem.message("user", "x")])
    (other,) = (await history.items(ANN, talk.id)).data
    wanted = {said.id, other.id, "msg_none"}
    found = await store.items(ANN, wanted, PLENTY)
    assert {id_: item.payload["content"][0]["text"] for id_, item in found.items()} == {said.id: "hello", other.id: "x"}
    assert await store.items(BOB, wanted, PLENTY) == {}
    with pytest.raises(ContextTooLong):
        await store.items(ANN, wanted, 100)
    await history.delete_item(ANN, talk.id, other.id)
    assert set(await store.items(ANN, wanted, PLENTY)) == {said.id}


async def test_a_response_without_input_ends_where_it_began(store: ResponseStore) -> None:
    first = asked("hello")
    await store.begin(first)
    leaf = first.input[-1].id
    second = replace(asked(), input=[], parent_id=leaf, conversation_id=first.conversation_id, previous_id=first.id)
    await store.begin(replace(second, has_own_conversation=False))
    assert (await store.response(ANN, second.id)).leaf_id == leaf
    assert (await store.input_items(ANN, second.id, None, 10, "asc")).data == []
    assert [item.id for item in (await store.continuation(ANN, second.id, 10, PLENTY)).context.items] == [leaf]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_of_input_is_bounded_by_bytes(store: ResponseStore, order: str) -> None:
    items = [NewItem.message("user", str(at) * (PAGE_BYTES // 3)) for at in range(4)]
    chain = [item.after(before) for item, before in zip(items, [ROOT, *(item.id for item in items)], strict=False)]
    new = asked(input=chain)
    await store.begin(new)
    first = await store.input_items(ANN, new.id, None, 10, order)  # type: ignore[arg-type]
    second = await store.input_items(ANN, new.id, first.last_id, 10, order)  # type: ignore[arg-type]
    found = [[text[0] for text in texts(page.data)] for page in (first, second)]
    assert found == ([["0", "1"], ["2", "3"]] if order == "asc" else [["3", "2"], ["1", "0"]])
    assert (first.has_more, second.has_more) == (True, False)


async def test_what_runs_is_listed_up_to_so_many_bytes(database: Database) -> None:
    history, responses = PostgresHistory(database), PostgresResponses(database)
    conversation = (await history.create_conversation(ANN, {})).id
    for _ in range(3):
        request = {"model": "quick", "instructions": "x" * (PAGE_BYTES // 2)}
        await responses.begin(running(conversation_id=conversation, has_own_conversation=False, request=request))
    assert len(await responses.running(ANN, conversation, 100)) == 1
