"""What a key is told of itself."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.api.conftest import Service
from tests.unit.api.test_metering import PATH, body, key, used

DAY_S = 86_400


async def test_a_key_learns_its_name_and_what_limits_all_keys(service: Service) -> None:
    me = (await service.http.get("/v1/me")).json()
    assert (me["object"], me["name"], me["admin"], me["expires_at"]) == ("api_key", "test", False, None)
    assert me["id"].startswith("key_") and len(me["last4"]) == 4
    assert set(me["remaining"].values()) == {None}
    assert {name: limit for name, limit in me["limits"].items() if limit is not None} == {
        "concurrent_requests": 128,  # half of what a script counts as
        "open_batches": 20,
        "batch_lines": 50_000,
        "file_bytes": 2 * 1024**3,
    }
    assert me["usage"]["start"].endswith("-01")


async def test_what_is_left_of_each_limit_is_told_with_when_it_is_whole_again(service: Service) -> None:
    expires = datetime.now(UTC) + timedelta(days=30)
    headers = await key(
        service,
        requests_per_minute=10,
        tokens_per_minute=60,
        concurrent_requests=2,
        tokens_per_month=1000,
        expires_at=expires,
        is_admin=True,
    )
    await service.http.post(PATH, json=body(), headers=headers)
    total = (await used(service, headers))["total_tokens"]
    assert total
    me = (await service.http.get("/v1/me", headers=headers)).json()
    assert me["admin"] and me["expires_at"] == int(expires.timestamp())
    assert me["limits"] == {
        "requests_per_minute": 10,
        "tokens_per_minute": 60,
        "concurrent_requests": 2,
        "tokens_per_month": 1000,
        "storage_bytes": None,
        "open_batches": 20,
        "batch_lines": 50_000,
        "file_bytes": 2 * 1024**3,
    }
    left = me["remaining"]
    assert left["requests_per_minute"]["remaining"] == 9  # to look takes nothing
    assert 0 < left["requests_per_minute"]["reset_s"] <= 6
    assert 60 - total <= left["tokens_per_minute"]["remaining"] < 60
    month = left["tokens_per_month"]
    assert (month["limit"], month["remaining"]) == (1000, 1000 - total) and 0 < month["reset_s"] <= 31 * DAY_S
    assert me["usage"]["total_tokens"] == total and me["usage"]["requests"] == 1
    assert "concurrent_requests" not in left


async def test_to_look_takes_nothing(service: Service) -> None:
    headers = await key(service, requests_per_minute=1, tokens_per_minute=50, concurrent_requests=1)
    looks = [(await service.http.get("/v1/me", headers=headers)).json()["remaining"] for _ in range(4)]
    assert looks[-1]["tokens_per_minute"]["remaining"] == 50
    assert looks[-1]["requests_per_minute"]["remaining"] == 1


@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer sk-chatllm-wrong"}])
async def test_a_wrong_key_is_told_nothing(service: Service, headers: dict[str, str]) -> None:
    response = await service.http.get("/v1/me", headers=headers)
    assert response.status_code == 401 and set(response.json()) == {"error"}
