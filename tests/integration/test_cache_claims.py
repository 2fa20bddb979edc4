"""One contract for the claims on what is being generated, in memory and in Redis."""

import asyncio
import uuid
from collections.abc import AsyncGenerator

import pytest

from deployments.cache.claims import Claim, Claims, MemoryClaims, RedisClaims
from deployments.infra.redis.errors import StoreError

ONE, OTHER, THIRD = b"one\x00\xff", b"other", b"third"


@pytest.fixture(params=["memory", "redis"])
async def claims(request: pytest.FixtureRequest) -> AsyncGenerator[Claims]:
    claims: Claims
    if request.param == "memory":
        claims = MemoryClaims(ttl_s=0.3)
    else:
        namespace = f"test-{uuid.uuid4().hex}"
        claims = RedisClaims(request.getfixturevalue("valkey_url"), namespace, timeout_s=5, ttl_s=0.3)
    yield claims
    await claims.aclose()


async def test_the_first_holds_each_name(claims: Claims) -> None:
    assert await claims.acquire([Claim("a", ONE), Claim("b", OTHER)]) == [ONE, OTHER]
    assert await claims.acquire([Claim("b", ONE), Claim("a", OTHER), Claim("c", THIRD)]) == [OTHER, ONE, THIRD]


async def test_a_claim_lapses_unless_it_is_renewed(claims: Claims) -> None:
    await claims.acquire([Claim("a", ONE), Claim("b", ONE)])
    for _ in range(4):
        await asyncio.sleep(0.1)
        assert await claims.acquire([Claim("a", ONE)]) == [ONE]
    assert await claims.acquire([Claim("a", OTHER), Claim("b", OTHER)]) == [ONE, OTHER]


async def test_of_several_who_take_over_one_succeeds(claims: Claims) -> None:
    await claims.acquire([Claim("a", ONE)])
    assert await claims.acquire([Claim("a", OTHER, ONE), Claim("a", THIRD, ONE)]) == [OTHER, OTHER]


async def test_a_redis_that_is_away_is_a_store_error() -> None:
    claims = RedisClaims("redis://127.0.0.1:1/0", "test", timeout_s=0.5)
    with pytest.raises(StoreError):
        await claims.acquire([Claim("a", ONE)])
    await claims.aclose()
