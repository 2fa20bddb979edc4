"""The key store's promises, kept by the real one and by the one in memory alike."""

import asyncio

import pytest

from deployments.errors import Conflict, NotFound
from deployments.keys.memory import MemoryKeys
from deployments.keys.postgres import PostgresKeys
from deployments.keys.store import KeyStore
from deployments.keys.types import hash_of


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

    assert sorted(type(result).__name__ for result in results) == ["Conflict"] * 7 + ["tuple"]
