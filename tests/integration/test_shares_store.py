"""The promises of the store of shares, kept by the real one and by the one in memory alike."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from deployments.errors import BadRequest, Conflict, NotFound
from deployments.history.memory import MemoryHistory
from deployments.history.postgres import PostgresHistory
from deployments.history.shares import memory, postgres
from deployments.history.shares.store import Shared, ShareStore, hash_of, new_token
from deployments.history.store import HistoryStore
from deployments.history.types import NewItem
from deployments.infra.postgres.database import Database
from deployments.keys.memory import MemoryKeys
from deployments.keys.postgres import PostgresKeys
from deployments.keys.store import KeyStore

ANN, BOB = "ann", "bob"
HASH, OTHER_HASH = b"h" * 32, b"o" * 32


@dataclass
class Stores:
    history: HistoryStore
    shares: ShareStore
    keys: KeyStore


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "memory":
        history, keys = MemoryHistory(), MemoryKeys()
        return Stores(history, memory.MemoryShares(history, keys), keys)
    database: Database = request.getfixturevalue("database")
    return Stores(PostgresHistory(database), postgres.PostgresShares(database), PostgresKeys(database))


def said(*words: str) -> list[NewItem]:
    return [NewItem.message("user" if n % 2 == 0 else "assistant", word) for n, word in enumerate(words)]


async def conversation(stores: Stores, *words: str) -> str:
    made = await stores.history.create_conversation(ANN, {"system_0": "secret"}, said(*words))
    await stores.history.update_conversation(ANN, made.id, title="Rivers")
    return made.id


def texts(shared: Shared) -> list[str]:
    return [message["content"][0]["text"] for message in shared.messages]


async def test_a_share_shows_the_title_and_the_messages_as_they_were(stores: Stores) -> None:
    mine = await conversation(stores, "a", "b")
    share = await stores.shares.create(ANN, mine, HASH)
    assert (share.conversation_id, share.title, share.expires_at) == (mine, "Rivers", None)
    assert share.id.startswith("share_")

    await stores.history.append(ANN, mine, said("c", "d"))
    await stores.history.update_conversation(ANN, mine, title="Secrets")

    shared = await stores.shares.read(HASH)
    assert (shared.title, texts(shared), shared.is_cut) == ("Rivers", ["a", "b"], False)
    assert [message["role"] for message in shared.messages] == ["user", "assistant"]
    assert shared.created_at == share.created_at


async def test_a_share_shows_one_branch_up_to_the_item_that_it_names(stores: Stores) -> None:
    mine = await conversation(stores, "a", "b", "c", "d")
    first, second, *_ = (await stores.history.items(ANN, mine, order="asc")).data
    await stores.history.append(ANN, mine, [NewItem.message("assistant", "another b").after(first.id)])

    await stores.shares.create(ANN, mine, HASH, until=second.id)
    await stores.shares.create(ANN, mine, OTHER_HASH)

    assert texts(await stores.shares.read(HASH)) == ["a", "b"]
    assert texts(await stores.shares.read(OTHER_HASH)) == ["a", "another b"]


async def test_what_is_not_said_between_the_two_is_not_shown(stores: Stores) -> None:
    made = await stores.history.create_conversation(ANN, {}, [NewItem.message("system", "be secret"), *said("a")])
    reasoning = NewItem({"summary": [{"type": "summary_text", "text": "hidden"}]}, type="reasoning")
    call = NewItem({"name": "f", "arguments": "{}", "call_id": "1"}, type="function_call")
    await stores.history.append(ANN, made.id, [reasoning, call, NewItem.message("assistant", "b")])
    await stores.shares.create(ANN, made.id, HASH)
    assert texts(await stores.shares.read(HASH)) == ["a", "b"]


async def test_a_deleted_item_is_gone_from_the_share_and_what_follows_stays(stores: Stores) -> None:
    mine = await conversation(stores, "a", "b", "c")
    await stores.shares.create(ANN, mine, HASH)
    first, _, last = (await stores.history.items(ANN, mine, order="asc")).data
    await stores.history.delete_item(ANN, mine, first.id)
    assert texts(await stores.shares.read(HASH)) == ["b", "c"]
    await stores.history.delete_item(ANN, mine, last.id)
    assert texts(await stores.shares.read(HASH)) == ["b"]


async def test_a_share_ends_with_its_conversation(stores: Stores) -> None:
    mine = await conversation(stores, "a")
    await stores.shares.create(ANN, mine, HASH)
    await stores.history.delete_conversation(ANN, mine)
    for call in (stores.shares.read(HASH), stores.shares.shares(ANN, mine)):
        with pytest.raises(NotFound):
            await call


async def test_a_revoked_share_shows_nothing_and_the_others_stay(stores: Stores) -> None:
    mine = await conversation(stores, "a")
    first = await stores.shares.create(ANN, mine, HASH)
    second = await stores.shares.create(ANN, mine, OTHER_HASH)
    assert list(await stores.shares.shares(ANN, mine)) == [second, first]
    await stores.shares.revoke(ANN, mine, first.id)
    with pytest.raises(NotFound):
        await stores.shares.read(HASH)
    with pytest.raises(NotFound):
        await stores.shares.revoke(ANN, mine, first.id)
    assert list(await stores.shares.shares(ANN, mine)) == [second]
    assert texts(await stores.shares.read(OTHER_HASH)) == ["a"]


async def test_an_expired_share_shows_nothing_is_not_listed_and_takes_no_place(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory, postgres):
        monkeypatch.setattr(module, "MAX_SHARES", 1)
    mine = await conversation(stores, "a")
    now = datetime.now(UTC)
    await stores.shares.create(ANN, mine, HASH, expires_at=now - timedelta(seconds=1))
    with pytest.raises(NotFound):
        await stores.shares.read(HASH)
    assert not await stores.shares.shares(ANN, mine)
    until = now + timedelta(hours=1)
    assert (await stores.shares.create(ANN, mine, OTHER_HASH, expires_at=until)).expires_at == until
    assert texts(await stores.shares.read(OTHER_HASH)) == ["a"]
    with pytest.raises(Conflict):
        await stores.shares.create(ANN, mine, b"third")


async def test_nothing_of_another_tenant_is_there(stores: Stores) -> None:
    mine = await conversation(stores, "a")
    share = await stores.shares.create(ANN, mine, HASH)
    for call in (
        stores.shares.create(BOB, mine, OTHER_HASH),
        stores.shares.shares(BOB, mine),
        stores.shares.revoke(BOB, mine, share.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert texts(await stores.shares.read(HASH)) == ["a"]


async def test_there_has_to_be_something_to_share(stores: Stores) -> None:
    empty = (await stores.history.create_conversation(ANN, {})).id
    full = await conversation(stores, "a")
    (item,) = (await stores.history.items(ANN, full)).data
    with pytest.raises(BadRequest):
        await stores.shares.create(ANN, empty, HASH)
    for conversation_id, until in ((full, "msg_nobody"), (empty, item.id), ("conv_nobody", None)):
        with pytest.raises(NotFound):
            await stores.shares.create(ANN, conversation_id, HASH, until=until)


async def test_a_long_conversation_is_cut_at_its_old_end(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, postgres):
        monkeypatch.setattr(module, "MAX_ITEMS", 2)
    mine = await conversation(stores, "a", "b", "c")
    await stores.shares.create(ANN, mine, HASH)
    shared = await stores.shares.read(HASH)
    assert (texts(shared), shared.is_cut) == (["b", "c"], True)


def test_a_token_cannot_be_guessed_and_is_not_what_is_stored() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    token = new_token()
    assert token.encode() not in hash_of(token) and len(hash_of(token)) == 32
    for foreign in ("", token[:-1], f"{token}x", token[:-1] + "/", token[:-1] + "é"):
        with pytest.raises(NotFound):
            hash_of(foreign)


async def test_a_share_shows_nothing_once_its_owners_key_opens_nothing(stores: Stores) -> None:
    """Nobody else could take it back."""
    key, _ = await stores.keys.create("ann's")
    other, _ = await stores.keys.create("bob's")
    mine = await stores.history.create_conversation(key.tenant, {}, said("a", "b"))
    await stores.shares.create(key.tenant, mine.id, HASH)
    await stores.keys.revoke(other.id)
    assert texts(await stores.shares.read(HASH)) == ["a", "b"]

    now = datetime.now(UTC)
    for field in ("disabled_at", "expires_at"):
        await stores.keys.update(key.id, {field: now})  # pyright: ignore[reportArgumentType]
        with pytest.raises(NotFound):
            await stores.shares.read(HASH)
        await stores.keys.update(key.id, {field: None})  # pyright: ignore[reportArgumentType]
        assert texts(await stores.shares.read(HASH)) == ["a", "b"]
    await stores.keys.revoke(key.id)
    with pytest.raises(NotFound):
        await stores.shares.read(HASH)
