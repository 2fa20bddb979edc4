"""The promises of the store of users, kept by the real one and by the one in memory alike."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.errors import BadRequest, Conflict, NotFound
from deployments.keys.memory import MemoryKeys
from deployments.keys.postgres import PostgresKeys
from deployments.keys.store import KeyStore
from deployments.keys.types import KeyChanges, KeyLimits, hash_of
from deployments.users.memory import MemoryUsers
from deployments.users.postgres import PostgresUsers
from deployments.users.store import UserStore
from deployments.users.types import IDLE, LIFETIME, Session, User, new_token

HASH = hash_of(new_token())


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> tuple[UserStore, KeyStore]:
    if request.param == "memory":
        keys = MemoryKeys()
        return MemoryUsers(keys), keys
    database = request.getfixturevalue("database")
    return PostgresUsers(database), PostgresKeys(database)


@pytest.fixture
def users(stores: tuple[UserStore, KeyStore]) -> UserStore:
    return stores[0]


async def made(users: UserStore, username: str = "ann", **account: object) -> User:
    return await users.create(username, f"hash of {username}", KeyChanges(**account), must_change=False)  # type: ignore[typeddict-item]


def session(of: str, name: str = "session_1", used: timedelta = timedelta(0), **more: datetime) -> Session:
    now = datetime.now(UTC).replace(microsecond=0)
    given = {"created_at": now - used, "used_at": now - used, "expires_at": now + LIFETIME} | more
    return Session(name, of, "Firefox", **given)


async def test_a_user_is_found_by_the_username_with_the_hash_of_the_password(users: UserStore) -> None:
    user = await made(users, name="Ann Example", is_admin=True, requests_per_minute=5)

    assert (user.username, user.account.name, user.account.tenant) == ("ann", "Ann Example", user.id)
    assert user.account.is_user and user.account.is_admin and user.account.limits == KeyLimits(requests_per_minute=5)
    assert await users.password_hash("ann") == (user, "hash of ann")
    assert await users.password_hash("bob") is None
    assert await users.retrieve(user.id) == user
    with pytest.raises(NotFound):
        await users.retrieve("user_none")


async def test_a_name_that_is_another_user_s_id_makes_nobody_of_its_bearer(users: UserStore) -> None:
    ann = await made(users)
    bob = await made(users, "bob", name=ann.id)

    assert (await users.update(ann.id, {}, {"is_admin": True})).account.is_admin
    assert await users.retrieve(bob.id) == bob


async def test_the_hash_of_a_password_is_replaced_if_it_is_still_the_old_one(users: UserStore) -> None:
    ann = await users.create("ann", "old", {}, must_change=True)

    assert not await users.change_password(ann.id, "older", "new")
    assert await users.password_hash("ann") == (ann, "old")
    assert await users.change_password(ann.id, "old", "new")
    known = await users.password_hash("ann")
    assert known is not None and known[1] == "new" and not known[0].must_change_password


async def test_without_a_name_the_username_is_shown(users: UserStore) -> None:
    assert (await made(users)).account.name == "ann"


async def test_one_of_many_gets_a_username(users: UserStore) -> None:
    results = await asyncio.gather(*(made(users) for _ in range(5)), return_exceptions=True)

    assert sorted(isinstance(result, User) for result in results) == [False] * 4 + [True]
    assert all(isinstance(result, (User, Conflict)) for result in results)


async def test_what_an_account_cannot_be_makes_no_user(users: UserStore) -> None:
    with pytest.raises(BadRequest):
        await made(users, requests_per_minute=-1)
    assert (await users.page(None, 5)).data == []


async def test_a_user_is_changed_and_keeps_what_is_not_named(users: UserStore) -> None:
    user = await made(users, weight=3)
    await made(users, "bob")

    changed = await users.update(user.id, {"username": "anna", "must_change_password": True}, {"tokens_per_minute": 9})
    assert (changed.username, changed.must_change_password, changed.account.weight) == ("anna", True, 3)
    assert changed.account.limits == KeyLimits(tokens_per_minute=9)
    assert await users.password_hash("anna") == (changed, "hash of ann")
    await users.update(user.id, {"password_hash": "another"}, {})
    assert (await users.password_hash("anna") or ("", ""))[1] == "another"
    with pytest.raises(Conflict):
        await users.update(user.id, {"username": "bob"}, {})
    assert await users.retrieve(user.id) == changed
    with pytest.raises(NotFound):
        await users.update("user_none", {}, {})


async def test_users_are_listed_page_by_page(users: UserStore) -> None:
    ids = [(await made(users, f"user{n}")).id for n in range(5)]

    first = await users.page(None, 2)
    assert ([user.id for user in first.data], first.has_more) == (ids[:2], True)
    rest = await users.page(ids[1], 9)
    assert ([user.id for user in rest.data], rest.has_more) == (ids[2:], False)


async def test_users_are_none_of_the_keys(stores: tuple[UserStore, KeyStore]) -> None:
    users, keys = stores
    user = await made(users)
    key, _ = await keys.create("ann")

    assert list(await keys.list()) == (await keys.page(None, 9)).data == [key]
    assert await keys.retrieve("ann") == key
    assert await keys.retrieve(user.id) == user.account
    for change in (keys.update(user.id, {"is_admin": True}), keys.revoke(user.id)):
        with pytest.raises(NotFound):
            await change
    assert await users.retrieve(user.id) == user


async def test_a_session_stands_for_its_user(users: UserStore) -> None:
    user = await made(users, is_admin=True)
    await users.begin_session(begun := session(user.id), HASH, 5)

    found = await users.find(HASH)
    assert found is not None and found.is_valid()
    assert replace(found, expires_at=None) == user.account
    assert found.expires_at == begun.used_at + IDLE
    assert await users.session(HASH) == begun
    assert list(await users.sessions(user.id)) == [begun]
    assert await users.find(hash_of("st-chatllm-wrong")) is None is await users.session(hash_of("st-chatllm-wrong"))


async def test_a_session_stands_for_a_key_and_opens_nothing_without_it(stores: tuple[UserStore, KeyStore]) -> None:
    users, keys = stores
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    key, _ = await keys.create("laptop", {"expires_at": soon})
    await users.begin_session(session(key.id), HASH, 5)

    assert await users.find(HASH) == key
    await keys.revoke(key.id)
    found = await users.find(HASH)
    assert found is not None and found.state == "revoked"


async def test_a_session_of_a_disabled_user_opens_nothing(users: UserStore) -> None:
    user = await made(users)
    await users.begin_session(session(user.id), HASH, 5)
    await users.update(user.id, {}, {"disabled_at": datetime.now(UTC)})

    found = await users.find(HASH)
    assert found is not None and found.state == "disabled"


@pytest.mark.parametrize(
    "lapsed", [{"used": IDLE + timedelta(hours=1)}, {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}]
)
async def test_a_session_expires(users: UserStore, lapsed: dict[str, timedelta]) -> None:
    user = await made(users)
    await users.begin_session(session(user.id, **lapsed), HASH, 5)  # type: ignore[arg-type]

    found = await users.find(HASH)
    assert found is not None and found.state == "expired"
    assert list(await users.sessions(user.id)) == []
    await users.sweep()
    assert await users.find(HASH) is None


async def test_use_keeps_a_session(users: UserStore) -> None:
    user = await made(users)
    await users.begin_session(session(user.id, used=timedelta(days=6)), HASH, 5)

    await users.find(HASH)
    found = await users.find(HASH)
    assert found is not None and found.expires_at is not None
    assert found.expires_at - datetime.now(UTC) > timedelta(days=6)
    await users.sweep()
    assert len(await users.sessions(user.id)) == 1


async def test_beyond_the_bound_the_least_recently_used_session_ends(users: UserStore) -> None:
    user, other = await made(users), await made(users, "bob")
    await users.begin_session(session(other.id, "session_bob"), hash_of("bob"), 2)
    for n, days in enumerate((1, 3, 2)):
        await users.begin_session(session(user.id, f"session_{n}", timedelta(days=days)), hash_of(str(n)), 2)

    assert {kept.id for kept in await users.sessions(user.id)} == {"session_0", "session_2"}
    assert len(await users.sessions(other.id)) == 1


async def test_sessions_end_one_by_one_or_all_but_one(users: UserStore) -> None:
    user, other = await made(users), await made(users, "bob")
    for n in range(4):
        await users.begin_session(session(user.id, f"session_{n}"), hash_of(str(n)), 9)

    for stranger in (users.end_session(other.id, "session_0"), users.end_session(user.id, "session_9")):
        with pytest.raises(NotFound):
            await stranger
    await users.end_session(user.id, "session_0")
    assert await users.find(hash_of("0")) is None
    await users.end_sessions(user.id, "session_2")
    assert [kept.id for kept in await users.sessions(user.id)] == ["session_2"]
    await users.end_sessions(user.id)
    assert list(await users.sessions(user.id)) == []
