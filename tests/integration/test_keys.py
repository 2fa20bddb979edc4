"""The key store's promises, kept by the real one and by the one in memory alike."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from deployments.config import KeySettings
from deployments.errors import BadRequest, Conflict, NotFound, Unauthenticated
from deployments.keys.authenticator import Authenticator
from deployments.keys.memory import MemoryKeys
from deployments.keys.postgres import PostgresKeys
from deployments.keys.store import KeyStore
from deployments.keys.types import LIMIT_NAMES, UNLIMITED, KeyChanges, KeyLimits, hash_of


@pytest.fixture(params=["memory", "postgres"])
def keys(request: pytest.FixtureRequest) -> KeyStore:
    return MemoryKeys() if request.param == "memory" else PostgresKeys(request.getfixturevalue("database"))


async def test_a_key_is_found_by_the_hash_of_its_secret(keys: KeyStore) -> None:
    key, secret = await keys.create("laptop")

    assert await keys.find(hash_of(secret)) == key
    assert (key.name, key.last4, key.tenant) == ("laptop", secret[-4:], key.id)
    assert key.id.startswith("key_") and key.is_valid()
    assert (key.revoked_at, key.expires_at) == (None, None)


async def test_the_secret_has_256_bits_and_is_not_stored(keys: KeyStore) -> None:
    (first, one), (_, other) = await keys.create("one"), await keys.create("other")

    assert one.startswith("sk-chatllm-") and len(one) == len("sk-chatllm-") + 43
    assert one != other
    assert one[:-4] not in repr(first) + repr(await keys.list())


async def test_an_unknown_hash_is_no_key(keys: KeyStore) -> None:
    await keys.create("laptop")

    assert await keys.find(hash_of("sk-chatllm-wrong")) is None


async def test_keys_are_listed_oldest_first_with_the_revoked_ones(keys: KeyStore) -> None:
    first, second = (await keys.create("first"))[0], (await keys.create("second"))[0]
    revoked = await keys.revoke(first.id)

    assert list(await keys.list()) == [revoked, second]


@pytest.mark.parametrize("by", ["id", "name"])
async def test_a_revoked_key_is_invalid(keys: KeyStore, by: str) -> None:
    key, secret = await keys.create("laptop")

    revoked = await keys.revoke(getattr(key, by))

    assert revoked.revoked_at is not None and not revoked.is_valid()
    assert await keys.find(hash_of(secret)) == revoked


async def test_revoking_by_id_can_be_repeated_and_by_name_cannot(keys: KeyStore) -> None:
    key, _ = await keys.create("laptop")
    revoked = await keys.revoke("laptop")

    assert await keys.revoke(key.id) == revoked
    with pytest.raises(NotFound):
        await keys.revoke("laptop")
    with pytest.raises(NotFound):
        await keys.revoke("key_nobody")


async def test_a_name_is_free_again_once_its_key_is_revoked(keys: KeyStore) -> None:
    first, _ = await keys.create("laptop")
    with pytest.raises(Conflict, match="laptop"):
        await keys.create("laptop")
    await keys.revoke(first.id)

    second, _ = await keys.create("laptop")

    assert (await keys.revoke("laptop")).id == second.id


async def test_only_one_of_concurrent_creations_gets_the_name(keys: KeyStore) -> None:
    results = await asyncio.gather(*(keys.create("laptop") for _ in range(8)), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["LastingConflict"] * 7 + ["tuple"]


async def test_a_key_is_made_with_all_that_can_be_set(keys: KeyStore) -> None:
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)

    key, secret = await keys.create(
        "robot", {"is_admin": True, "expires_at": expires_at, "requests_per_minute": 60, "tokens_per_month": 10**9}
    )

    assert (key.is_admin, key.expires_at, key.state) == (True, expires_at, "valid")
    assert key.limits == KeyLimits(requests_per_minute=60, tokens_per_month=10**9)
    assert await keys.find(hash_of(secret)) == await keys.retrieve("robot") == await keys.retrieve(key.id) == key


async def test_each_limit_is_kept_and_taken_away(keys: KeyStore) -> None:
    limits = {name: 10 + at for at, name in enumerate(LIMIT_NAMES)}
    made, _ = await keys.create("robot", cast("KeyChanges", limits))
    assert made.limits == KeyLimits(**limits)
    for name in LIMIT_NAMES:
        limits.pop(name)
        assert (await keys.update("robot", cast("KeyChanges", {name: None}))).limits == KeyLimits(**limits)
    assert (await keys.update("robot", {"file_bytes": 9, "open_batches": 8, "batch_lines": 7})).limits == KeyLimits(
        open_batches=8, batch_lines=7, file_bytes=9
    )


async def test_an_update_changes_what_it_names_and_nothing_else(keys: KeyStore) -> None:
    key, secret = await keys.create("robot", {"requests_per_minute": 60, "concurrent_requests": 2})
    assert not key.is_admin

    changed = await keys.update("robot", {"name": "android", "tokens_per_minute": 5, "concurrent_requests": None})
    assert (changed.name, changed.limits) == ("android", KeyLimits(60, 5, None, None))
    assert (changed.id, changed.last4, changed.tenant, changed.created_at) == (
        key.id,
        key.last4,
        key.tenant,
        key.created_at,
    )
    assert await keys.find(hash_of(secret)) == changed
    unlimited: KeyChanges = {"requests_per_minute": None, "tokens_per_minute": None}
    assert (await keys.update(key.id, unlimited)).limits == UNLIMITED
    assert await keys.update(key.id, {}) == await keys.retrieve(key.id)


async def test_a_disabled_key_opens_nothing_until_it_is_enabled(keys: KeyStore) -> None:
    key, _ = await keys.create("robot")

    assert (await keys.update(key.id, {"disabled_at": datetime.now(UTC)})).state == "disabled"
    assert (await keys.update(key.id, {"disabled_at": None})).is_valid()
    assert (await keys.update(key.id, {"expires_at": datetime.now(UTC)})).state == "expired"


async def test_a_revoked_key_cannot_be_changed(keys: KeyStore) -> None:
    key, _ = await keys.create("robot")
    await keys.revoke("robot")

    for named in ("robot", key.id):
        with pytest.raises(NotFound):
            await keys.update(named, {"disabled_at": None})
    with pytest.raises(NotFound):
        await keys.retrieve("robot")
    assert (await keys.retrieve(key.id)).state == "revoked"


async def test_a_rename_cannot_take_the_name_of_another(keys: KeyStore) -> None:
    await keys.create("first")
    await keys.create("second")

    with pytest.raises(Conflict, match="first"):
        await keys.update("second", {"name": "first"})
    assert (await keys.update("second", {"name": "second"})).name == "second"


@pytest.mark.parametrize("name", ["", "x" * 201, "key_1", "a\nb", "\x1b[2J", "\0", "\ud800"])
async def test_a_name_that_would_mislead_is_refused(keys: KeyStore, name: str) -> None:
    await keys.create("good")
    with pytest.raises(BadRequest):
        await keys.create(name)
    with pytest.raises(BadRequest):
        await keys.update("good", {"name": name})


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute", "concurrent_requests"])
async def test_a_limit_is_positive_and_can_be_counted(keys: KeyStore, limit: str) -> None:
    for value in (0, -1, 2**48 + 1, 10**400):
        with pytest.raises(BadRequest, match=limit):
            await keys.create("robot", {limit: value})  # type: ignore[misc]


async def test_names_are_told_by_ids(keys: KeyStore) -> None:
    made = [(await keys.create(name))[0] for name in ("ann", "bob", "cid")]
    await keys.revoke(made[0].id)
    assert await keys.names([made[0].id, made[2].id, "key_none"]) == {made[0].id: "ann", made[2].id: "cid"}


async def test_pages_join_to_the_list(keys: KeyStore) -> None:
    made = [(await keys.create(str(number)))[0] for number in range(5)]
    first = await keys.page(None, 2)
    assert (first.data, first.has_more) == (made[:2], True)
    second = await keys.page(first.last_id, 3)
    assert (second.data, second.has_more) == (made[2:], False)
    assert (await keys.page("key_nobody", 3)).data == []


@pytest.mark.parametrize("change", ["revoke", "disable", "limit"])
async def test_a_change_holds_on_every_replica_soon(keys: KeyStore, change: str) -> None:
    """Over two authenticators, as of two replicas; with the default settings it is 5 s."""
    key, secret = await keys.create("laptop")
    settings = KeySettings(cache_ttl_s=0.5)
    replicas = [Authenticator(keys, settings) for _ in range(2)]
    for replica in replicas:
        assert (await replica.authenticate(secret)).limits == UNLIMITED
    changed_at = time.monotonic()
    if change == "revoke":
        await keys.revoke(key.id)
    else:
        changes: KeyChanges = {"disabled_at": datetime.now(UTC)} if change == "disable" else {"requests_per_minute": 7}
        await keys.update(key.id, changes)

    async def sees(replica: Authenticator) -> None:
        while True:
            try:
                if (await replica.authenticate(secret)).limits.requests_per_minute == 7:
                    return
            except Unauthenticated as error:
                assert ("disabled" in str(error)) == (change == "disable")
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(asyncio.gather(*map(sees, replicas)), 3)
    assert time.monotonic() - changed_at < 0.5 + 0.3
    for replica in replicas:
        await replica.aclose()
