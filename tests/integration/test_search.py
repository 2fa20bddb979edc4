"""Search over conversations, by the real store and by the one in memory alike."""

import asyncio
from collections.abc import Sequence

import pytest

from deployments.errors import NotFound
from deployments.history.memory import MemoryHistory
from deployments.history.postgres import PostgresHistory
from deployments.history.store import HistoryStore
from deployments.history.types import NewItem
from deployments.infra.postgres.database import Database

ANN, BOB = "ann", "bob"


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> HistoryStore:
    return MemoryHistory() if request.param == "memory" else PostgresHistory(request.getfixturevalue("database"))


def said(*texts: str) -> list[NewItem]:
    return [NewItem.message("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(texts)]


async def made(store: HistoryStore, *texts: str, tenant: str = ANN) -> str:
    return (await store.create_conversation(tenant, {}, said(*texts))).id


async def found(store: HistoryStore, typed: str, tenant: str = ANN) -> set[str]:
    return {match.id for match in (await store.search(tenant, typed)).data}


@pytest.mark.parametrize(
    ("text", "typed", "is_found"),
    [
        ("The Rhine flows north.", "rhine", True),
        ("The Rhine flows north.", "north RHINE", True),
        ("The Rhine flows north.", "rhi", True),
        ("The Rhine flows north.", "rhi ", False),
        ("The Rhine flows north.", "hine", False),
        ("The Rhine flows north.", "rhine south", False),
        ("and/or (maybe) foo-bar, x@example.org", "or maybe bar example", True),
        ("call foo_bar(12abc)", "12ab", True),
        ("Ärger über Straßen", "ärger STRASS", False),
        ("Ärger über Straßen", "ÜBER straß", True),
        ("Привет, мир!", "ПРИВ", True),
        ("हिन्दी में लिखा", "हिन्दी", True),
        ("مرحبا بالعالم", "مرحبا", True),
        ("我喜欢学习中文和日本語", "学习", True),
        ("我喜欢学习中文和日本語", "习学", False),
        ("我喜欢学习中文和日本語", "日本語", True),
        ("ภาษาไทยไม่มีช่องว่าง", "ไทย", True),
        ("Ｆｕｌｌ width", "full", True),
        ("안녕하세요 세계", "안녕", True),
        ("a b c", "a", True),
        ("apple", "a", False),
    ],
)
async def test_words_are_found_in_any_language(store: HistoryStore, text: str, typed: str, is_found: bool) -> None:
    conversation = await made(store, text)
    await made(store, "something else entirely")

    assert await found(store, typed) == ({conversation} if is_found else set())


@pytest.mark.parametrize(
    "typed",
    [
        "'", "''", "\\", "a & b", "a | !b", "(", "<->", "a:*", ":*", "%", "'; DROP TABLE items; --", "a\0b", "\u202e",
        "x" * 1000, "a " * 500, "'@ann' | rhine", "@ann", "!@bob", "😀", "中" * 900, "-1e999", "<b>", "{}", "\ufffe",
    ],
)  # fmt: skip
async def test_hostile_queries_are_harmless(store: HistoryStore, typed: str) -> None:
    await made(store, "the rhine", tenant=BOB)
    await made(store, "the rhine")

    assert await found(store, typed) == set()


async def test_the_better_match_comes_first_and_one_conversation_once(store: HistoryStore) -> None:
    weak = await made(store, "a rhine among many other words that have nothing to do with it at all, really")
    strong = await made(store, "rhine rhine rhine", "the rhine again")

    page = await store.search(ANN, "rhine")

    assert [match.id for match in page.data] == [strong, weak]
    assert page.data[0].text == "rhine rhine rhine"
    item = await store.item(ANN, strong, page.data[0].item_id)
    assert (item.role, page.data[0].role) == ("user", "user")


async def test_results_are_paged(store: HistoryStore) -> None:
    conversations = {await made(store, f"rhine number {n}") for n in range(7)}

    seen: list[str] = []
    after = None
    while True:
        page = await store.search(ANN, "rhine", after, limit=3)
        seen += [match.id for match in page.data]
        if not page.has_more:
            break
        after = page.last_id

    assert (len(seen), set(seen)) == (7, conversations)
    with pytest.raises(NotFound):
        await store.search(ANN, "rhine", "conv_nobody")


async def test_what_is_deleted_or_another_s_is_not_found(store: HistoryStore) -> None:
    theirs = await made(store, "the rhine", tenant=BOB)
    gone = await made(store, "the rhine")
    await store.delete_conversation(ANN, gone)
    erased = await made(store, "the rhine", "the elbe")
    await store.delete_item(ANN, erased, (await store.items(ANN, erased, order="asc")).data[0].id)

    assert await found(store, "rhine") == set()
    assert await found(store, "elbe") == {erased}
    assert await found(store, "rhine", BOB) == {theirs}
    with pytest.raises(NotFound):
        await store.search(ANN, "rhine", theirs)


async def test_only_what_was_said_is_searched(store: HistoryStore) -> None:
    items = [
        NewItem.message("system", "the rhine"),
        NewItem({"name": "rhine", "arguments": "rhine", "call_id": "rhine"}, type="function_call"),
        NewItem({"content": [{"type": "input_image", "image_url": "rhine"}]}, role="user"),
    ]
    conversation = (await store.create_conversation(ANN, {}, items)).id
    assert await found(store, "rhine") == set()

    await store.append(ANN, conversation, said("the rhine"))
    assert await found(store, "rhine") == {conversation}


def extremes() -> Sequence[str]:
    every = "".join(chr(code) for code in range(0x20000, 0x2A6D0))
    return (
        every,
        " ".join(f"{n:x}" for n in range(200_000)),
        "x" * 3_000_000,
        "a\0" * 10_000,
        "".join(chr(code) for code in range(0x20, 0x3000)),
        "- " * 500_000,
    )


@pytest.mark.parametrize("at", range(len(extremes())))
async def test_no_text_is_too_much_to_be_stored(store: HistoryStore, at: int) -> None:
    conversation = await made(store, extremes()[at] + " end", "needle")

    assert await found(store, "needle") == {conversation}


async def test_a_hidden_conversation_is_not_searched(database: Database) -> None:
    history = PostgresHistory(database)
    await database.fetch("INSERT INTO conversations (id, tenant, is_hidden) VALUES ('conv_x', 'ann', true)")
    await database.fetch(
        "INSERT INTO items (conversation_id, id, type, role, status, payload, size_bytes) VALUES "
        "('conv_x', 'msg_x', 'message', 'user', 'completed', $1::text::jsonb, 1)",
        '{"content": [{"type": "input_text", "text": "the rhine"}]}',
    )

    assert await found(history, "rhine") == set()


async def test_a_word_of_every_message_costs_no_more_than_its_newest_ones(database: Database) -> None:
    history = PostgresHistory(database)
    made_all = [await made(history, *["the same word"] * 20) for _ in range(60)]

    page = await asyncio.wait_for(history.search(ANN, "the", limit=50), 20)

    assert {match.id for match in page.data} == set(made_all[-25:])
