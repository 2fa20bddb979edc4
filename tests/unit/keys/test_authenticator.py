"""Who calls, from memory where it can be."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.config import KeySettings
from deployments.errors import HistoryUnavailable, Unauthenticated
from deployments.keys import authenticator as module
from deployments.keys.authenticator import Authenticator, Caller
from deployments.keys.memory import MemoryKeys
from deployments.keys.types import Key, hash_of, new_secret

TTL_S = 0.4
SLACK_S = 0.6  # for a busy machine


class CountedKeys(MemoryKeys):
    """Counts its queries, and takes its time."""

    def __init__(self, takes_s: float = 0.0) -> None:
        super().__init__()
        self.takes_s = takes_s
        self.queries = 0
        self.at_once = 0
        self.most_at_once = 0

    async def find(self, hash_: bytes) -> Key | None:
        self.queries += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        found = await super().find(hash_) if not self.is_away else None
        await asyncio.sleep(self.takes_s)
        self.at_once -= 1
        self._check()
        return found


def settings(**changes: float) -> KeySettings:
    return KeySettings(**{"cache_ttl_s": TTL_S, "outage_ttl_s": 5.0, **changes})  # type: ignore[arg-type]


@pytest.fixture
def keys() -> CountedKeys:
    return CountedKeys()


async def test_a_valid_key_names_its_caller(keys: CountedKeys) -> None:
    key, secret = await keys.create("laptop")

    assert await Authenticator(keys, settings()).authenticate(secret) == Caller(key.tenant, key.id, "laptop")


@pytest.mark.parametrize(
    "secret", ["", "x", "sk-chatllm-", "sk-chatllm-" + "x" * 42, "sk-other-ab" + "x" * 43, "ü" * 54]
)
async def test_what_is_not_a_key_is_refused_without_a_query(keys: CountedKeys, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        await Authenticator(keys, settings()).authenticate(secret)
    assert keys.queries == 0


async def test_a_fresh_key_is_answered_from_memory(keys: CountedKeys) -> None:
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())

    for _ in range(100):
        await authenticator.authenticate(secret)

    assert keys.queries == 1


async def test_past_half_its_time_a_key_is_confirmed_in_the_background(keys: CountedKeys) -> None:
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    await authenticator.authenticate(secret)
    keys.takes_s = 0.3
    await asyncio.sleep(TTL_S * 0.6)

    began = time.monotonic()
    await authenticator.authenticate(secret)
    await authenticator.authenticate(secret)
    assert time.monotonic() - began < keys.takes_s
    await asyncio.sleep(0.35)
    await authenticator.authenticate(secret)

    assert keys.queries == 2
    await authenticator.aclose()


async def test_a_key_in_steady_use_is_refused_soon_after_its_revocation(keys: CountedKeys) -> None:
    key, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    await authenticator.authenticate(secret)
    await keys.revoke(key.id)
    revoked_at = time.monotonic()

    with pytest.raises(Unauthenticated):
        while time.monotonic() - revoked_at < 5:
            await authenticator.authenticate(secret)
            await asyncio.sleep(0.01)

    assert time.monotonic() - revoked_at < TTL_S + SLACK_S


async def test_a_key_that_rested_is_asked_for_before_it_is_trusted(keys: CountedKeys) -> None:
    key, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    await authenticator.authenticate(secret)
    await keys.revoke(key.id)
    await asyncio.sleep(TTL_S)

    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(secret)


async def test_requests_with_one_key_share_a_query() -> None:
    keys = CountedKeys(takes_s=0.02)
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())

    await asyncio.gather(*(authenticator.authenticate(secret) for _ in range(50)))

    assert keys.queries == 1


async def test_one_who_leaves_does_not_hurt_those_who_wait_with_him() -> None:
    keys = CountedKeys(takes_s=0.02)
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    first = asyncio.create_task(authenticator.authenticate(secret))
    second = asyncio.create_task(authenticator.authenticate(secret))
    await asyncio.sleep(0.005)

    first.cancel()

    assert (await second).name == "laptop"
    assert keys.queries == 1


async def test_a_wrong_key_is_refused_from_memory_for_a_moment(
    keys: CountedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_TTL_S", 0.3)
    authenticator = Authenticator(keys, settings())
    secret = new_secret()
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(secret)
    assert keys.queries == 1

    await asyncio.sleep(0.35)
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(secret)
    assert keys.queries == 2


async def test_a_flood_of_wrong_keys_takes_two_connections_and_holds_up_no_known_key() -> None:
    keys = CountedKeys(takes_s=0.005)
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    await authenticator.authenticate(secret)

    flood = [asyncio.create_task(authenticator.authenticate(new_secret())) for _ in range(3000)]
    await asyncio.sleep(TTL_S + 0.05)
    began = time.monotonic()
    await authenticator.authenticate(secret)
    waited = time.monotonic() - began
    for attempt in flood:
        attempt.cancel()
    results = await asyncio.gather(*flood, return_exceptions=True)
    await authenticator.aclose()

    assert waited < SLACK_S
    assert keys.most_at_once <= module.UNKNOWN_LOOKUPS + 1
    refused = [result for result in results if isinstance(result, HistoryUnavailable)]
    assert len(refused) == 3000 - module.MAX_WAITING


async def test_memory_is_bounded(keys: CountedKeys) -> None:
    authenticator = Authenticator(keys, settings(max_cached=3))
    secrets = [(await keys.create(str(number)))[1] for number in range(5)]
    for secret in secrets:
        await authenticator.authenticate(secret)
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(new_secret())
    before = keys.queries

    await authenticator.authenticate(secrets[-1])
    assert keys.queries == before
    await authenticator.authenticate(secrets[0])
    assert keys.queries == before + 1
    assert len(authenticator._known) == len(authenticator._refused_until) == 3


async def test_an_outage_is_bridged_for_known_keys_up_to_its_time(keys: CountedKeys) -> None:
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings(outage_ttl_s=0.8))
    await authenticator.authenticate(secret)
    keys.is_away = True

    began = time.monotonic()
    with pytest.raises(HistoryUnavailable):
        while time.monotonic() - began < 5:
            await authenticator.authenticate(secret)
            await asyncio.sleep(0.01)

    assert 0.7 < time.monotonic() - began < 0.8 + SLACK_S


async def test_an_unknown_key_in_an_outage_is_unavailable_not_wrong(keys: CountedKeys) -> None:
    _, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    keys.is_away = True

    for _ in range(20):
        with pytest.raises(HistoryUnavailable) as caught:
            await authenticator.authenticate(secret)
        assert caught.value.retry_after_s
    assert keys.queries == 1


async def test_an_outage_is_over_for_trust_once_it_was_long_ago(keys: CountedKeys) -> None:
    key, secret = await keys.create("laptop")
    authenticator = Authenticator(keys, settings())
    await authenticator.authenticate(secret)
    keys.is_away = True
    await asyncio.sleep(TTL_S)
    await authenticator.authenticate(secret)
    keys.is_away = False
    await keys.revoke(key.id)
    await asyncio.sleep(TTL_S)

    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(secret)


async def test_an_expired_key_is_refused_even_from_memory(keys: CountedKeys) -> None:
    key, secret = await keys.create("laptop")
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    keys._keys[hash_of(secret)] = replace(key, expires_at=soon)
    authenticator = Authenticator(keys, settings(cache_ttl_s=10.0))
    await authenticator.authenticate(secret)
    await asyncio.sleep(0.35)

    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(secret)
