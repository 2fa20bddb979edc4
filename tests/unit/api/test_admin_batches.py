"""`/v1/admin/batches`: the batches of all keys, for administrators."""

import asyncio
import time
from typing import Any

from deployments.config import BatchSettings, ScriptedModel
from tests.unit.api.conftest import Service, running
from tests.unit.api.test_batches import begun, line, sdk, until

QUICK = ScriptedModel(id="quick", kind="scripted", tokens=2)
SLOW = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=50)
PATH = "/v1/admin/batches"


async def shown(service: Service, headers: dict[str, str], **query: Any) -> dict[str, Any]:
    answer = await service.http.get(PATH, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_an_administrator_sees_what_is_open_of_all_keys_and_when_it_will_end() -> None:
    async with running(QUICK, SLOW, batches=BatchSettings(max_in_flight=2)) as service:
        _, secret = await service.keys.create("ops", {"is_admin": True})
        key, other = await service.keys.create("robot")
        admin = {"authorization": f"Bearer {secret}"}
        assert (await shown(service, admin))["data"] == []
        async with sdk(service) as ann, sdk(service, other) as bob:
            lines = [
                line(1),
                *(line(at, model="slow", messages=[{"role": "user", "content": "x"}]) for at in (2, 3, 4)),
            ]
            first = await begun(ann, lines)
            await until(ann, first, "in_progress")
            second = await begun(bob, [line(1, model="slow", messages=[{"role": "user", "content": "y"}])])
            async with asyncio.timeout(10):
                while (page := await shown(service, admin))["data"][0]["request_counts"]["completed"] == 0 or (
                    page["data"][1]["status"] != "in_progress"
                ):
                    await asyncio.sleep(0.02)
            one, two = page["data"]
            assert (one["id"], one["key_name"], one["model"]) == (first.id, "test", None)
            assert one["request_counts"] == {"total": 4, "completed": 1, "failed": 0}
            assert one["running"] <= 2
            assert time.time() - 1 <= one["expected_end_at"] <= time.time() + 60
            assert (two["id"], two["key_id"], two["key_name"]) == (second.id, key.id, "robot")
            assert (two["model"], two["expected_end_at"]) == ("slow", None)
            assert "input_file_id" not in one and "metadata" not in one
            page = await shown(service, admin, limit=1)
            assert page["has_more"] and [each["id"] for each in page["data"]] == [first.id]
            page = await shown(service, admin, after=page["last_id"])
            assert [each["id"] for each in page["data"]] == [second.id]
            for api, batch in ((ann, first), (bob, second)):
                await api.batches.cancel(batch.id)
                await until(api, batch, "cancelled")
        assert (await shown(service, admin))["data"] == []


async def test_only_administrators_see_it() -> None:
    async with running(QUICK) as service:
        assert (await service.http.get(PATH)).status_code == 403
        assert (await service.http.get(PATH, headers={"authorization": ""})).status_code == 401
