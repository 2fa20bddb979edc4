"""A key stores no more than it may: refused where writing is asked for, and never in the middle of an answer."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.config import KeyLimitSettings, ScriptedModel
from deployments.history import storage
from tests.unit.api.conftest import Service, running

LIMIT = 2000
MODEL = ScriptedModel(id="quick", kind="scripted", tokens=4)
USER = {"role": "user", "content": "hi"}


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Service]:
    """A service whose keys may store 2,000 bytes, unless they have a limit of their own, as the store tells it."""
    monkeypatch.setattr(storage, "TRUSTED_S", 0.0)
    async with running(MODEL, key_limits=KeyLimitSettings(storage_bytes=LIMIT)) as service:
        yield service


async def full(service: Service) -> str:
    """Fill the key's storage and return the conversation."""
    item = {"role": "user", "content": "x" * (LIMIT - 100)}  # what is stored of it has an id and more
    made = await service.http.post("/v1/conversations", json={"items": [item]})
    assert made.status_code == 200
    return str(made.json()["id"])


async def test_writing_is_refused_by_name_once_the_storage_is_full(service: Service) -> None:
    conversation = await full(service)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/conversations", {"items": [USER]}),
        (f"/v1/conversations/{conversation}/items", {"items": [USER]}),
        ("/v1/chat/completions", {"conversation": conversation, "messages": [USER]}),
        ("/v1/chat/completions", {"store": True, "messages": [USER]}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/responses", {"input": "hi", "background": True}),
    ]
    for path, body in asked:
        refused = await service.http.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "storage_full"), path
        assert "2,000" in refused.json()["error"]["message"]


async def test_a_request_that_would_store_too_much_is_refused_as_a_whole(service: Service) -> None:
    refused = await service.http.post("/v1/conversations", json={"items": [{"role": "user", "content": "x" * LIMIT}]})
    assert refused.status_code == 403
    assert (await service.http.get("/v1/conversations")).json()["data"] == []


async def test_what_stores_nothing_is_answered(service: Service) -> None:
    await full(service)
    for path, body in (
        ("/v1/chat/completions", {"messages": [USER]}),
        ("/v1/responses", {"input": "hi", "store": False}),
    ):
        assert (await service.http.post(path, json=body)).status_code == 200


async def test_deleting_makes_room_at_once(service: Service) -> None:
    conversation = await full(service)
    assert (await service.http.post("/v1/responses", json={"input": "hi"})).status_code == 403
    await service.http.delete(f"/v1/conversations/{conversation}")
    assert (await service.http.post("/v1/responses", json={"input": "hi"})).status_code == 200
    service.history.is_away = False  # or what was written waits for it until the service has to end


async def test_a_limit_of_its_own_counts_and_the_key_is_told(service: Service) -> None:
    await full(service)
    _, secret = await service.keys.create("large", {"storage_bytes": 10**9})
    headers = {"authorization": f"Bearer {secret}"}
    for _ in range(2):
        item = {"role": "user", "content": "x" * 2 * LIMIT}
        made = await service.http.post("/v1/conversations", json={"items": [item]}, headers=headers)
        assert made.status_code == 200
    me = (await service.http.get("/v1/me", headers=headers)).json()
    assert me["limits"]["storage_bytes"] == 10**9
    assert 4 * LIMIT < me["stored_bytes"] < 4 * LIMIT + 1000
    assert (await service.http.get("/v1/me")).json()["limits"]["storage_bytes"] == LIMIT


async def test_a_burst_is_counted_before_the_store_tells_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "TRUSTED_S", 60.0)
    body = {"items": [{"role": "user", "content": "x" * (LIMIT // 4)}]}
    statuses = [(await service.http.post("/v1/conversations", json=body)).status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 403, 403, 403]


async def test_while_the_store_is_away_a_response_is_answered(service: Service) -> None:
    service.history.is_away = True
    assert (await service.http.post("/v1/responses", json={"input": "hi"})).status_code == 200
    service.history.is_away = False  # or what was written waits for it until the service has to end
