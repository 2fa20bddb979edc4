"""The promises of the store of completions, kept by the real one and by the one in memory alike."""

from typing import Any

import pytest

from deployments.errors import NotFound
from deployments.history.stored.memory import MemoryCompletions
from deployments.history.stored.postgres import PostgresCompletions
from deployments.history.stored.store import CompletionStore, NewCompletion
from deployments.history.types import PAGE_BYTES

ANN, BOB = "ann", "bob"


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> CompletionStore:
    if request.param == "memory":
        return MemoryCompletions()
    return PostgresCompletions(request.getfixturevalue("database"))


def made(name: str, model: str = "guide", words: tuple[str, ...] = ("hi",), **metadata: str) -> NewCompletion:
    answer = {"role": "assistant", "content": f"answer {name}"}
    completion = {"id": name, "object": "chat.completion", "model": model, "choices": [{"index": 0, "message": answer}]}
    return NewCompletion.of(completion, [{"role": "user", "content": word} for word in words], metadata)


async def fill(store: CompletionStore, *completions: NewCompletion) -> None:
    for completion in completions:
        await store.append(ANN, completion.id, [completion])


async def ids(store: CompletionStore, tenant: str = ANN, **more: Any) -> list[str]:
    return [stored.id for stored in (await store.completions(tenant, **more)).data]


async def test_what_is_stored_comes_back_whole_and_once(store: CompletionStore) -> None:
    kept = made("a", words=("ünï\0", "two"), topic="rivers")
    await fill(store, kept, kept)

    stored = await store.completion(ANN, "a")

    assert stored.completion == kept.payload["completion"]
    assert stored.metadata == {"topic": "rivers"}
    messages = await store.messages(ANN, "a")
    assert [(m.id, m.message["content"]) for m in messages.data] == [("a-0", "ünï\ufffd"), ("a-1", "two")]
    assert await ids(store) == ["a"]


async def test_the_list_is_paged_in_both_orders(store: CompletionStore) -> None:
    await fill(store, *(made(name) for name in "abcde"))

    first = await store.completions(ANN, limit=2)
    assert ([s.id for s in first.data], first.has_more, first.last_id) == (["a", "b"], True, "b")
    assert await ids(store, after="b", limit=2) == ["c", "d"]
    last = await store.completions(ANN, after="d", limit=2)
    assert ([s.id for s in last.data], last.has_more) == (["e"], False)
    assert await ids(store, after="c", order="desc") == ["b", "a"]
    assert await ids(store, after="e") == []
    with pytest.raises(NotFound):
        await store.completions(ANN, after="nothing")


async def test_the_list_is_filtered_by_model_and_by_every_pair_of_metadata(store: CompletionStore) -> None:
    await fill(
        store,
        made("a", "guide", topic="rivers", lang="de"),
        made("b", "other", topic="rivers"),
        made("c", "guide", topic="hills"),
    )

    assert await ids(store, model="guide") == ["a", "c"]
    assert await ids(store, metadata={"topic": "rivers"}) == ["a", "b"]
    assert await ids(store, metadata={"topic": "rivers", "lang": "de"}) == ["a"]
    assert await ids(store, model="other", metadata={"topic": "hills"}) == []
    assert await ids(store, metadata={"topic": "'; DROP TABLE stored_completions --"}) == []


async def test_metadata_are_replaced_and_nothing_else(store: CompletionStore) -> None:
    await fill(store, made("a", topic="rivers"))
    before = await store.completion(ANN, "a")

    changed = await store.update_metadata(ANN, "a", {"lang": "de"})

    assert changed.metadata == {"lang": "de"}
    assert changed.completion == before.completion
    assert await store.completion(ANN, "a") == changed


async def test_what_is_deleted_is_gone(store: CompletionStore) -> None:
    await fill(store, made("a"))
    await store.delete(ANN, "a")

    for call in (store.completion(ANN, "a"), store.delete(ANN, "a"), store.messages(ANN, "a")):
        with pytest.raises(NotFound):
            await call
    assert await ids(store) == []


async def test_nothing_of_another_tenant_is_there(store: CompletionStore) -> None:
    await fill(store, made("a", topic="rivers"))

    for call in (
        store.completion(BOB, "a"),
        store.update_metadata(BOB, "a", {}),
        store.delete(BOB, "a"),
        store.messages(BOB, "a"),
        store.completions(BOB, after="a"),
    ):
        with pytest.raises(NotFound):
            await call
    assert await ids(store, BOB) == []
    assert (await store.completion(ANN, "a")).metadata == {"topic": "rivers"}


async def test_messages_are_paged_in_both_orders(store: CompletionStore) -> None:
    await fill(store, made("a", words=tuple("pqrst")))

    async def said(**more: Any) -> tuple[list[str], bool]:
        page = await store.messages(ANN, "a", **more)
        return [message.message["content"] for message in page.data], page.has_more

    assert await said(limit=2) == (["p", "q"], True)
    assert await said(after="a-1", limit=3) == (["r", "s", "t"], False)
    assert await said(after="a-4") == ([], False)
    assert await said(order="desc", limit=2) == (["t", "s"], True)
    assert await said(order="desc", after="a-3", limit=9) == (["r", "q", "p"], False)
    for foreign in ("b-1", "a-", "a-x", "a-٣", "a-99999999999999999999"):
        with pytest.raises(NotFound):
            await store.messages(ANN, "a", after=foreign)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_are_bounded_by_bytes(store: CompletionStore, order: Any) -> None:
    large = "x" * (PAGE_BYTES // 3)
    for name in ("a", "b", "c", "d"):
        one = made(name, words=(large,) * 4)
        one.payload["completion"]["choices"][0]["message"]["content"] = large
        await fill(store, one)
    first = await store.completions(ANN, order=order, limit=10)
    second = await store.completions(ANN, order=order, limit=10, after=first.last_id)
    assert [stored.id for page in (first, second) for stored in page.data] == sorted("abcd", reverse=order == "desc")
    assert [(len(page.data), page.has_more) for page in (first, second)] == [(2, True), (2, False)]

    said = await store.messages(ANN, "a", order=order, limit=10)
    rest = await store.messages(ANN, "a", order=order, limit=10, after=said.last_id)
    assert [(len(page.data), page.has_more) for page in (said, rest)] == [(2, True), (2, False)]
    whole = await store.messages(ANN, "a", order=order, limit=2)
    assert (len(whole.data), whole.has_more) == (2, True)
