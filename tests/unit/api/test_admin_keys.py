"""`/v1/admin/keys` and `/v1/usage` over HTTP."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.unit.api.conftest import Service

KEYS = "/v1/admin/keys"
CHAT = {"messages": [{"role": "user", "content": "hello big world"}]}


@pytest.fixture
async def admin(service: Service) -> dict[str, str]:
    """The headers of an administrator's key."""
    _, secret = await service.keys.create("admin", {"is_admin": True})
    return {"authorization": f"Bearer {secret}"}


async def made(service: Service, admin: dict[str, str], **body: Any) -> dict[str, Any]:
    response = await service.http.post(KEYS, json={"name": "robot", **body}, headers=admin)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_key_is_made_and_works_and_its_secret_is_told_once(service: Service, admin: dict[str, str]) -> None:
    key = await made(service, admin, limits={"requests_per_minute": 5})

    secret = key.pop("secret")
    own = {"authorization": f"Bearer {secret}"}
    assert (await service.http.get("/v1/models", headers=own)).headers["x-ratelimit-limit-requests"] == "5"
    assert (key["object"], key["name"], key["status"], key["last4"]) == ("api_key", "robot", "valid", secret[-4:])
    assert key["limits"] == {
        "requests_per_minute": 5,
        "tokens_per_minute": None,
        "concurrent_requests": None,
        "tokens_per_month": None,
        "storage_bytes": None,
        "open_batches": None,
        "batch_lines": None,
        "file_bytes": None,
    }
    assert abs(key["created_at"] - time.time()) < 5
    for path in (KEYS, f"{KEYS}/{key['id']}"):
        response = await service.http.get(path, headers=admin)
        assert secret not in response.text
    assert response.json() == key


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("GET", ""), ("GET", "/key_x"), ("POST", "/key_x"), ("DELETE", "/key_x")]
)
async def test_only_administrators_may(service: Service, method: str, path: str) -> None:
    response = await service.http.request(method, f"{KEYS}{path}", json={"name": "x", "admin": True})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    anonymous = await service.http.request(method, f"{KEYS}{path}", json={}, headers={"authorization": ""})
    assert anonymous.status_code == 401


async def test_a_key_is_changed_disabled_enabled_and_revoked(service: Service, admin: dict[str, str]) -> None:
    key = await made(service, admin)
    path = f"{KEYS}/{key['id']}"
    later = int(time.time()) + 3600

    async def change(**body: Any) -> dict[str, Any]:
        response = await service.http.post(path, json=body, headers=admin)
        assert response.status_code == 200, response.text
        return response.json()

    assert (await change(name="android", expires_at=later))["expires_at"] == later
    limited = await change(limits={"tokens_per_minute": 7, "concurrent_requests": 2})
    assert (limited["name"], limited["limits"]["tokens_per_minute"]) == ("android", 7)
    assert (await change(limits={"tokens_per_minute": None}))["limits"]["concurrent_requests"] == 2
    assert (await change(limits={"concurrent_requests": "unlimited"}))["limits"]["concurrent_requests"] == "unlimited"
    assert (await change(limits={"concurrent_requests": None}))["limits"]["concurrent_requests"] is None
    assert (await change(disabled=True))["status"] == "disabled"
    own = {"authorization": f"Bearer {key['secret']}"}
    assert (await service.http.get("/v1/models", headers=own)).status_code == 401
    assert (await change(disabled=False, expires_at=None))["status"] == "valid"
    assert (await change(expires_at=1))["status"] == "expired"
    assert (await change(admin=True))["admin"] is True
    revoked = await service.http.delete(path, headers=admin)
    assert revoked.json() == {"id": key["id"], "object": "api_key.deleted", "deleted": True}
    assert (await service.http.post(path, json={"disabled": False}, headers=admin)).status_code == 404
    assert (await service.http.get(path, headers=admin)).json()["status"] == "revoked"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "key_1"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": None}, "name"),
        ({"name": "x", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
        ({"name": "x", "limits": {"requests_per_minute": "unlimited"}}, "limits.requests_per_minute"),
        ({"name": "x", "limits": {"concurrent_requests": "many"}}, "limits.concurrent_requests"),
        ({"name": "x", "limits": {"requests_per_hour": 1}}, "limits"),
        ({"name": "x", "limits": {"tokens_per_month": 2**60}}, "limits.tokens_per_month"),
        ({"name": "x", "expires_at": 10**15}, "expires_at"),
        ({"name": "x", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "x", "admin": None}, "admin"),
        ({"name": "x", "tenant": "key_other"}, "tenant"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    service: Service, admin: dict[str, str], body: dict[str, Any], param: str
) -> None:
    response = await service.http.post(KEYS, json=body, headers=admin)
    assert response.status_code == 400, response.text
    assert param in (response.json()["error"]["param"] or response.json()["error"]["message"])


async def test_keys_are_found_by_id_only_and_names_are_unique(service: Service, admin: dict[str, str]) -> None:
    await made(service, admin)
    assert (await service.http.get(f"{KEYS}/robot", headers=admin)).status_code == 404
    assert (await service.http.get(f"{KEYS}/key_none", headers=admin)).status_code == 404
    assert (await service.http.post(KEYS, json={"name": "robot"}, headers=admin)).status_code == 409


async def test_pages(service: Service, admin: dict[str, str]) -> None:
    for number in range(3):
        await service.keys.create(f"key {number}")
    seen: list[str] = []
    after = ""
    while True:
        page = (await service.http.get(f"{KEYS}?limit=2{after}", headers=admin)).json()
        seen += [key["name"] for key in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert seen == ["test", "admin", "key 0", "key 1", "key 2"]
    assert (await service.http.get(f"{KEYS}?limit=101", headers=admin)).status_code == 400


async def usage(service: Service, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    async with asyncio.timeout(3):
        while service.usage.pending:
            await asyncio.sleep(0.01)
    return await service.http.get("/v1/usage", params=query, headers=headers)


async def test_one_reads_ones_own_usage_and_an_administrator_anyones(service: Service, admin: dict[str, str]) -> None:
    own = (await service.keys.list())[0]
    for _ in range(2):
        await service.http.post("/v1/chat/completions", json=CHAT)
    await service.http.post("/v1/chat/completions", json=CHAT, headers=admin)
    today = str(datetime.now(UTC).date())

    mine = (await usage(service)).json()
    sums = {"requests": 2, "errors": 0, "prompt_tokens": 6, "completion_tokens": 16, "cached_tokens": 0}
    assert mine["data"] == [{"day": today, **sums, "total_tokens": 22}]
    assert mine["total"] == {**sums, "total_tokens": 22}
    assert (mine["end"], mine["has_more"]) == (today, False)
    assert (await usage(service, key_id=own.id)).json() == mine
    assert (await usage(service, admin, key_id=own.id)).json() == mine
    everyone = (await usage(service, admin, key_id="all", group_by="key,model")).json()
    assert [(row["model"], row["requests"]) for row in everyone["data"]] in (
        [("quick", 1), ("quick", 2)],
        [
            ("quick", 2),
            ("quick", 1),
        ],
    )
    assert everyone["total"]["requests"] == 3
    assert (await usage(service, admin)).json()["total"]["requests"] == 1
    for foreign in ("all", "key_none"):
        refused = await usage(service, key_id=foreign)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "hour"},
        {"start": "yesterday"},
        {"start": "2026-11-02", "end": "2026-11-01"},
        {"start": "2020-01-01", "end": "2026-01-01"},
        {"group_by": "day," * 20},
    ],
)
async def test_a_report_that_cannot_be_is_refused(service: Service, query: dict[str, str]) -> None:
    response = await usage(service, **query)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


async def test_a_report_covers_thirty_days_unless_said_otherwise(service: Service) -> None:
    today = datetime.now(UTC).date()
    assert (await usage(service)).json()["start"] == str(today - timedelta(days=29))
    past = (await usage(service, start="2026-01-01", end="2026-01-31", group_by="")).json()
    assert (past["start"], past["end"], past["data"]) == ("2026-01-01", "2026-01-31", [])
    assert (await usage(service, end="0001-01-02")).json()["start"] == "0001-01-01"
