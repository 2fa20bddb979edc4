"""`/v1/admin/cache` over HTTP, and what the cache's settings do to answers."""

import asyncio
import secrets
from typing import Any

import httpx
import pytest

from deployments.cache.remote import LookupReply
from deployments.config import CacheSettings, ModelCacheSettings, ScriptedModel
from deployments.infra.redis.errors import StoreError
from tests.unit.api.conftest import Service, running

CACHE = "/v1/admin/cache"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello big world"}], "temperature": 0}
QUICK = ScriptedModel(id="quick", kind="scripted", tokens=8)


@pytest.fixture
async def admin(service: Service) -> dict[str, str]:
    """The headers of an administrator's key."""
    return await key_of(service, is_admin=True)


async def key_of(service: Service, is_admin: bool = False) -> dict[str, str]:
    _, secret = await service.keys.create(f"key {secrets.token_hex(4)}", {"is_admin": is_admin})
    return {"authorization": f"Bearer {secret}"}


async def asked(service: Service, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    response = await service.http.post("/v1/chat/completions", json=CHAT | more, headers=headers)
    assert response.status_code == 200, response.text
    return response


async def results(service: Service, *headers: dict[str, str] | None) -> list[str]:
    return [(await asked(service, each)).headers["x-cache"] for each in headers]


async def stored(service: Service, count: int) -> None:
    """Wait until that many answers have been written."""
    async with asyncio.timeout(5):
        while service.cache.stored < count:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_only_administrators_may(service: Service, method: str) -> None:
    response = await service.http.request(method, CACHE, params={"all": "true"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    anonymous = await service.http.request(method, CACHE, headers={"authorization": ""})
    assert anonymous.status_code == 401


async def test_one_answer_is_purged_by_its_key(service: Service, admin: dict[str, str]) -> None:
    key = (await asked(service)).headers["x-cache-key"]
    other = await asked(service, seed=1)
    assert other.headers["x-cache-key"] != key
    await stored(service, 2)
    response = await service.http.delete(CACHE, params={"key": key}, headers=admin)
    assert response.json() == {
        "object": "cache.purged",
        "purged": True,
        "key": key,
        "tenant": None,
        "model": None,
    }
    assert (await asked(service)).headers["x-cache"] == "MISS"
    assert (await asked(service, seed=1)).headers["x-cache"] == "HIT"


async def test_a_tenants_answers_are_purged(service: Service, admin: dict[str, str]) -> None:
    keys = [await service.keys.create(name) for name in ("one", "other")]
    one, other = ({"authorization": f"Bearer {secret}"} for _, secret in keys)
    assert await results(service, one, other) == ["MISS", "MISS"]  # two tenants, two entries
    await stored(service, 2)
    assert await results(service, one, other) == ["HIT", "HIT"]
    response = await service.http.delete(CACHE, params={"tenant": keys[0][0].tenant}, headers=admin)
    assert response.status_code == 200
    assert await results(service, one, other) == ["MISS", "HIT"]


async def test_a_models_answers_are_purged_by_any_of_its_names(admin: dict[str, str], service: Service) -> None:
    assert [(await asked(service, model=model, max_tokens=1)).headers["x-cache"] for model in ("quick", "slow")] == [
        "MISS",
        "MISS",
    ]
    await stored(service, 2)
    assert (await service.http.delete(CACHE, params={"model": "slow"}, headers=admin)).status_code == 200
    assert [(await asked(service, model=model, max_tokens=1)).headers["x-cache"] for model in ("quick", "slow")] == [
        "HIT",
        "MISS",
    ]
    unknown = await service.http.delete(CACHE, params={"model": "gpt-9"}, headers=admin)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


async def test_everything_is_purged_only_if_asked_for(service: Service, admin: dict[str, str]) -> None:
    await asked(service)
    await stored(service, 1)
    key = f"v2:{'0' * 16}:{'0' * 16}:{'0' * 64}"
    for wrong in ({}, {"all": "false"}, {"all": "true", "model": "quick"}, {"key": key, "tenant": "a"}, {"key": "*"}):
        assert (await service.http.delete(CACHE, params=wrong, headers=admin)).status_code == 400, wrong
    assert (await asked(service)).headers["x-cache"] == "HIT"
    assert (await service.http.delete(CACHE, params={"all": "true"}, headers=admin)).status_code == 200
    assert (await asked(service)).headers["x-cache"] == "MISS"


@pytest.mark.parametrize("scope", ["all", "key", "tenant", "model"])
@pytest.mark.parametrize("control", ["", "no-cache"])
async def test_what_is_being_generated_during_a_purge_is_not_kept(
    service: Service, admin: dict[str, str], scope: str, control: str
) -> None:
    more: dict[str, Any] = {"model": "slow", "stream": True, "max_tokens": 5}
    key, secret = await service.keys.create("one")
    headers = {"authorization": f"Bearer {secret}", "cache-control": control}
    async with service.http.stream("POST", "/v1/chat/completions", json=CHAT | more, headers=headers) as response:
        lines = response.aiter_lines()
        await anext(lines)
        place = {"all": "true", "key": response.headers["x-cache-key"], "tenant": key.tenant, "model": "slow"}
        purged = await service.http.delete(CACHE, params={scope: place[scope]}, headers=admin)
        assert purged.status_code == 200, purged.text
        assert [line async for line in lines if line][-1] == "data: [DONE]"
    await stored(service, 1)
    assert await results(service, headers) == ["BYPASS" if control else "MISS"]  # another model's
    assert (await asked(service, headers | {"cache-control": ""}, **more | {"stream": False})).headers[
        "x-cache"
    ] == "MISS"


@pytest.mark.parametrize("sees", [True, False])
async def test_what_is_being_generated_during_a_purge_is_not_joined_after_it(
    service: Service, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch, sees: bool
) -> None:
    """Neither where the next look-up sees the purge, nor where it fails."""
    body = CHAT | {"model": "slow", "stream": True, "max_tokens": 40}

    def begun() -> Any:
        return service.http.stream("POST", "/v1/chat/completions", json=body)

    async def fail(*_: object) -> LookupReply:
        raise ConnectionError

    async with begun() as old, begun() as joiner:
        assert (old.headers["x-cache"], joiner.headers["x-cache"]) == ("MISS", "JOIN")
        assert (await service.http.delete(CACHE, params={"model": "slow"}, headers=admin)).status_code == 200
        if not sees:
            monkeypatch.setattr(service.lookup, "lookup", fail)
        async with begun() as new, begun() as next_joiner:
            assert (new.headers["x-cache"], next_joiner.headers["x-cache"]) == ("MISS", "JOIN")
            assert await service.models.replicas["slow"].running() == 2
        lines = [line async for line in joiner.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]"  # who had joined before is not hurt


async def test_a_purge_that_failed_says_so(
    service: Service, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(purge: object) -> None:
        raise StoreError("timeout")

    monkeypatch.setattr(service.lookup._answers, "purge", fail)
    response = await service.http.delete(CACHE, params={"all": "true"}, headers=admin)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "(timeout)" in response.json()["error"]["message"]
    assert service.lookup.failures == {"purge_timeout": 1}


async def test_figures(service: Service, admin: dict[str, str]) -> None:
    await asked(service)
    await stored(service, 1)
    await asked(service)
    figures = (await service.http.get(CACHE, headers=admin)).json()
    assert figures["object"] == "cache" and figures["enabled"] is True
    replica, lookup = figures["replica"], figures["lookup"]
    assert (replica["hits"], replica["memory_hits"], replica["misses"]) == (1, 1, {"absent": 1})
    assert (replica["stored"], replica["drops"], replica["memory_entries"]) == (1, {}, 1)
    assert replica["memory_bytes"] > 100
    assert (lookup["failures"], lookup["reading_is_stopped"], lookup["writing_is_stopped"]) == ({}, False, False)
    assert lookup["store"]["names"] == 1


async def test_tenants_share_answers_where_the_configuration_says_so() -> None:
    async with running(QUICK, cache=CacheSettings(shared=True)) as service:
        admin = await key_of(service, is_admin=True)
        assert await results(service, await key_of(service), await key_of(service)) == ["MISS", "HIT"]
        refused = await service.http.delete(CACHE, params={"tenant": "any"}, headers=admin)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tenant")


async def test_a_model_has_limits_of_its_own_for_what_is_stored() -> None:
    small = ScriptedModel(id="quick", kind="scripted", tokens=400, cache=ModelCacheSettings(max_entry_bytes=1024))
    brief = ScriptedModel(id="brief", kind="scripted", cache=ModelCacheSettings(ttl_s=0.05))
    async with running(small, brief) as service:
        await asked(service, model="quick")
        await asked(service, model="brief")
        await stored(service, 1)
        await asyncio.sleep(0.1)
        assert (await asked(service, model="brief")).headers["x-cache"] == "MISS"
        assert service.cache.drops == {"too_large": 1}
