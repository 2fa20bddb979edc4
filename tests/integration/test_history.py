"""The conversation store's promises, kept by the real one and by the one in memory alike."""

import asyncio

import pytest

from deployments.errors import BadRequest, Conflict, NotFound, PreconditionFailed
from deployments.history.memory import MemoryHistory
from deployments.history.postgres import PostgresHistory
from deployments.history.store import HistoryStore
from deployments.history.types import PAGE_BYTES, ROOT, Conversation, Item, NewItem
from deployments.infra.postgres.database import Database

ANN, BOB = "ann", "bob"
PLENTY = 1_000_000


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> HistoryStore:
    return MemoryHistory() if request.param == "memory" else PostgresHistory(request.getfixturevalue("database"))


def texts(items: list[Item] | tuple[Item, ...]) -> list[str]:
    return [item.payload["content"][0]["text"] for item in items]


def said(*words: str) -> list[NewItem]:
    return [NewItem.message("user" if n % 2 == 0 else "assistant", word) for n, word in enumerate(words)]


async def test_a_conversation_is_kept_as_it_was_created(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {"topic": "ünïcode", "n": 1})

    found = await store.conversation(ANN, made.id)

    assert found == made
    assert made.id.startswith("conv_") and len(made.id) >= 37
    assert (found.metadata, found.title, found.tenant) == ({"topic": "ünïcode", "n": 1}, None, ANN)
    assert found.created_at.tzinfo is not None


async def test_a_conversation_can_start_with_items(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("hello", "hi"))

    assert texts((await store.items(ANN, made.id, order="asc")).data) == ["hello", "hi"]


async def test_nothing_is_created_when_one_item_is_impossible(store: HistoryStore) -> None:
    orphan = NewItem.message("user", "?").after("msg_nobody")

    with pytest.raises(Conflict):
        await store.create_conversation(ANN, {}, [*said("hello"), orphan])

    assert (await store.conversations(ANN)).data == []


async def test_an_item_is_stored_in_openai_s_shape(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})

    (item,) = await store.append(ANN, made.id, [NewItem.message("assistant", "hi", status="incomplete")])

    assert item.payload == {
        "type": "message",
        "id": item.id,
        "status": "incomplete",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "hi"}],
    }
    assert (item.type, item.role, item.status, item.conversation_id) == ("message", "assistant", "incomplete", made.id)
    assert await store.item(ANN, made.id, item.id) == item


async def test_each_item_answers_the_newest_one(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})

    first, second = await store.append(ANN, made.id, said("a", "b"))
    (third,) = await store.append(ANN, made.id, said("c"))

    assert [first.parent_id, second.parent_id, third.parent_id] == [None, first.id, second.id]


async def test_repeating_an_append_writes_nothing(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    turn = said("a", "b")
    stored = await store.append(ANN, made.id, turn)
    await store.append(ANN, made.id, said("c"))

    again = await store.append(ANN, made.id, turn)

    assert again == stored
    assert texts((await store.items(ANN, made.id, order="asc")).data) == ["a", "b", "c"]


async def test_an_append_that_was_written_in_part_is_completed(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    first, second = said("a", "b")
    await store.append(ANN, made.id, [first])

    stored = await store.append(ANN, made.id, [first, second])

    assert texts(stored) == ["a", "b"]
    assert stored[1].parent_id == first.id


async def test_a_parent_that_is_not_there_is_a_conflict(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a"))

    with pytest.raises(Conflict):
        await store.append(ANN, made.id, [NewItem.message("user", "b").after("msg_nobody")])

    assert texts((await store.items(ANN, made.id)).data) == ["a"]


async def test_a_parent_in_another_conversation_is_a_conflict(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    other = await store.create_conversation(ANN, {})
    (elsewhere,) = await store.append(ANN, other.id, said("a"))

    with pytest.raises(Conflict):
        await store.append(ANN, made.id, [NewItem.message("user", "b").after(elsewhere.id)])


async def test_branches_have_contexts_of_their_own(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    question, answer = await store.append(ANN, made.id, said("question", "answer"))
    (other_answer,) = await store.append(ANN, made.id, [NewItem.message("assistant", "other").after(question.id)])
    (edited,) = await store.append(ANN, made.id, [NewItem.message("user", "edited").after(ROOT)])

    async def branch(leaf: str | None) -> list[str]:
        return texts((await store.context(ANN, made.id, leaf, PLENTY, PLENTY)).items)

    assert await branch(answer.id) == ["question", "answer"]
    assert await branch(other_answer.id) == ["question", "other"]
    assert await branch(edited.id) == ["edited"]
    assert await branch(None) == ["edited"]
    assert edited.parent_id is None


async def test_the_context_is_bounded_by_count(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a", "b", "c", "d"))

    context = await store.context(ANN, made.id, None, 3, PLENTY)
    assert texts(context.items) == ["b", "c", "d"]
    assert context.cut and texts([await store.item(ANN, made.id, context.cut.item_id)]) == ["a"]
    assert (await store.context(ANN, made.id, None, 4, PLENTY)).cut is None


async def test_the_context_is_bounded_by_bytes_but_has_its_leaf(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a", "b" * 2000, "c", "d" * 2000))

    assert [t[0] for t in texts((await store.context(ANN, made.id, None, PLENTY, 2500)).items)] == ["c", "d"]
    assert [t[0] for t in texts((await store.context(ANN, made.id, None, PLENTY, 10)).items)] == ["d"]


async def test_a_context_says_where_it_was_cut(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a", "b" * 20_000, "c", "d"))
    large = (await store.items(ANN, made.id, order="asc")).data[1]

    context = await store.context(ANN, made.id, None, PLENTY, 10_000)
    assert texts(context.items) == ["c", "d"]
    assert context.cut and context.cut.item_id == large.id
    assert 20_000 < context.cut.size_bytes < 20_500

    await store.delete_item(ANN, made.id, large.id)
    context = await store.context(ANN, made.id, None, PLENTY, 10_000)
    assert (texts(context.items), context.cut) == (["a", "c", "d"], None)


async def test_the_context_of_an_empty_conversation_is_empty(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})

    context = await store.context(ANN, made.id, None, PLENTY, PLENTY)

    assert (context.items, context.leaf) == ((), None)


async def test_the_context_names_its_leaf(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a", "b"))
    newest = (await store.items(ANN, made.id, limit=1)).data[0]

    assert (await store.context(ANN, made.id, None, PLENTY, PLENTY)).leaf == newest.id


async def test_children_of_a_deleted_item_keep_their_way_to_the_root(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    _, second, third = await store.append(ANN, made.id, said("a", "b", "c"))

    await store.delete_item(ANN, made.id, second.id)

    assert texts((await store.context(ANN, made.id, None, 2, PLENTY)).items) == ["a", "c"]
    assert texts((await store.items(ANN, made.id, order="asc")).data) == ["a", "c"]
    assert (await store.item(ANN, made.id, third.id)).parent_id == second.id
    with pytest.raises(NotFound):
        await store.item(ANN, made.id, second.id)
    with pytest.raises(NotFound):
        await store.delete_item(ANN, made.id, second.id)


async def test_the_next_item_follows_a_deleted_newest_one(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    _, newest = await store.append(ANN, made.id, said("a", "b"))
    await store.delete_item(ANN, made.id, newest.id)

    (after,) = await store.append(ANN, made.id, said("c"))
    context = await store.context(ANN, made.id, None, PLENTY, PLENTY)

    assert after.parent_id == newest.id
    assert texts(context.items) == ["a", "c"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_items_come_in_pages(store: HistoryStore, order: str) -> None:
    words = [str(n) for n in range(7)]
    made = await store.create_conversation(ANN, {}, said(*words))
    seen: list[str] = []
    after = None
    while True:
        page = await store.items(ANN, made.id, after=after, limit=3, order=order)  # type: ignore[arg-type]
        seen += texts(page.data)
        assert (page.first_id, page.last_id) == (page.data[0].id, page.data[-1].id)
        after = page.last_id
        if not page.has_more:
            break

    assert seen == (words if order == "asc" else words[::-1])
    assert (await store.items(ANN, made.id, after=after, limit=3, order=order)).data == []  # type: ignore[arg-type]


async def test_conversations_come_in_pages_by_activity(store: HistoryStore) -> None:
    made = [(await store.create_conversation(ANN, {"n": n})).id for n in range(5)]
    await store.append(ANN, made[1], said("a"))
    await store.update_conversation(ANN, made[0], title="renaming is no activity")
    expected = [made[1], made[4], made[3], made[2], made[0]]

    first = await store.conversations(ANN, limit=2)
    second = await store.conversations(ANN, after=first.last_id, limit=2)
    third = await store.conversations(ANN, after=second.last_id, limit=2)

    assert [c.id for page in (first, second, third) for c in page.data] == expected
    assert [page.has_more for page in (first, second, third)] == [True, True, False]
    assert (await store.conversations(ANN, after=third.last_id)).data == []


async def test_a_conversation_is_updated_in_part(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {"a": "1"})

    assert (await store.update_conversation(ANN, made.id, title="t")).metadata == {"a": "1"}
    changed = await store.update_conversation(ANN, made.id, metadata={"b": "2"})
    assert (changed.metadata, changed.title) == ({"b": "2"}, "t")
    assert (await store.update_conversation(ANN, made.id, title="")).title is None
    assert await store.conversation(ANN, made.id) == (await store.update_conversation(ANN, made.id))


async def test_of_two_updates_of_one_version_the_second_is_refused(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {"b": "ü", "a": "1"})
    assert (await store.conversation(ANN, made.id)).version == made.version
    changed = await store.update_conversation(ANN, made.id, metadata={"c": "2"}, version=made.version)
    assert changed.version != made.version
    with pytest.raises(PreconditionFailed):
        await store.update_conversation(ANN, made.id, metadata={"d": "3"}, version=made.version)
    renamed = await store.update_conversation(ANN, made.id, title="t", version=changed.version)
    assert (renamed.metadata, renamed.title) == ({"c": "2"}, "t")
    with pytest.raises(NotFound):
        await store.update_conversation(ANN, "conv_0", title="t", version=made.version)


async def test_of_many_updates_at_once_one_wins(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    updates = (store.update_conversation(ANN, made.id, {"n": n}, version=made.version) for n in range(8))
    results = await asyncio.gather(*updates, return_exceptions=True)
    assert [type(result) for result in results].count(PreconditionFailed) == 7
    (winner,) = [result for result in results if isinstance(result, Conversation)]
    assert await store.conversation(ANN, made.id) == winner


async def test_a_deleted_conversation_is_gone(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a", "b"))

    await store.delete_conversation(ANN, made.id)

    with pytest.raises(NotFound):
        await store.conversation(ANN, made.id)
    with pytest.raises(NotFound):
        await store.append(ANN, made.id, said("c"))
    with pytest.raises(NotFound):
        await store.delete_conversation(ANN, made.id)


async def test_another_tenant_sees_nothing(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("secret"))
    item = (await store.items(ANN, made.id)).data[0]
    attempts = [
        lambda: store.conversation(BOB, made.id),
        lambda: store.update_conversation(BOB, made.id, title="mine"),
        lambda: store.delete_conversation(BOB, made.id),
        lambda: store.append(BOB, made.id, said("x")),
        lambda: store.items(BOB, made.id),
        lambda: store.item(BOB, made.id, item.id),
        lambda: store.delete_item(BOB, made.id, item.id),
        lambda: store.context(BOB, made.id, None, PLENTY, PLENTY),
        lambda: store.context(BOB, made.id, item.id, PLENTY, PLENTY),
        lambda: store.conversations(BOB, after=made.id),
    ]

    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt()

    assert (await store.conversations(BOB)).data == []
    assert texts((await store.items(ANN, made.id)).data) == ["secret"]
    assert (await store.conversation(ANN, made.id)).title is None


async def test_unknown_ids_are_not_found(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {}, said("a"))

    for attempt in (
        lambda: store.item(ANN, made.id, "msg_nobody"),
        lambda: store.delete_item(ANN, made.id, "msg_nobody"),
        lambda: store.context(ANN, made.id, "msg_nobody", PLENTY, PLENTY),
        lambda: store.items(ANN, made.id, after="msg_nobody"),
        lambda: store.items(ANN, "conv_nobody"),
        lambda: store.conversations(ANN, after="conv_nobody"),
    ):
        with pytest.raises(NotFound):
            await attempt()


@pytest.mark.parametrize(
    "word",
    [
        "\0",
        "a\0b",
        "\\u0000",
        "\\\0",
        "\\\\u0000\0",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
        "\u2028",
    ],
)
async def test_any_text_survives_but_for_nul(store: HistoryStore, word: str) -> None:
    made = await store.create_conversation(ANN, {"w": word}, said(word))

    assert texts((await store.items(ANN, made.id)).data) == [word.replace("\0", "\ufffd")]
    assert (await store.conversation(ANN, made.id)).metadata == {"w": word.replace("\0", "\ufffd")}
    assert (await store.update_conversation(ANN, made.id, title=word)).title == word.replace("\0", "\ufffd")


async def test_what_is_not_json_is_refused(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})

    for impossible in ("\ud800", {1, 2}, 2**70):
        with pytest.raises(BadRequest):
            await store.append(ANN, made.id, [NewItem({"content": impossible})])


async def test_a_hundred_concurrent_turns_leave_one_chain_of_exactly_a_hundred(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})

    await asyncio.gather(*(store.append(ANN, made.id, said(f"q{n}", f"a{n}")) for n in range(100)))

    chain = (await store.context(ANN, made.id, None, PLENTY, PLENTY)).items
    assert sorted(texts(chain)) == sorted(f"{who}{n}" for n in range(100) for who in "qa")
    listed = (await store.items(ANN, made.id, limit=300, order="asc")).data
    assert [item.id for item in listed] == [item.id for item in chain]


async def test_concurrent_repetitions_of_one_append_write_once(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})
    turn = said("q", "a")

    results = await asyncio.gather(*(store.append(ANN, made.id, turn) for _ in range(20)))

    assert all(result == results[0] for result in results)
    assert len((await store.items(ANN, made.id)).data) == 2


async def test_appending_nothing_writes_nothing(store: HistoryStore) -> None:
    made = await store.create_conversation(ANN, {})

    assert await store.append(ANN, made.id, []) == []


async def test_the_context_takes_one_round_trip(database: Database) -> None:
    store = PostgresHistory(database)
    made = await store.create_conversation(ANN, {}, said("a", "b"))
    queries: list[str] = []
    async with database.connection() as connection:
        connection.add_query_logger(lambda record: queries.append(record.query))
    await store.context(ANN, made.id, None, PLENTY, PLENTY)

    assert len(queries) == 1


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_is_bounded_by_bytes_and_goes_on(store: HistoryStore, order: str) -> None:
    sizes = [10, PAGE_BYTES + 10, 10, PAGE_BYTES // 2, PAGE_BYTES // 2, 10, 10]
    made = await store.create_conversation(ANN, {}, said(*(str(at) * size for at, size in enumerate(sizes))))
    pages: list[list[str]] = []
    after = None
    while not pages or pages[-1]:
        page = await store.items(ANN, made.id, after=after, limit=5, order=order)  # type: ignore[arg-type]
        pages.append([text[0] for text in texts(page.data)])
        assert page.last_id == page.data[-1].id
        after = page.last_id
        if not page.has_more:
            break

    expected = [["0"], ["1"], ["2", "3"], ["4", "5", "6"]]
    if order == "desc":
        expected = [["6", "5", "4"], ["3", "2"], ["1"], ["0"]]
    assert pages == expected
