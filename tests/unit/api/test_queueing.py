"""What clients see of the queue in front of a full model: turns, headers, comments, refusals with a time."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.api.http import keep_alive
from deployments.chat import waiting
from deployments.config import QueueSettings, ScriptedModel
from deployments.keys.types import ANY_NUMBER, KeyChanges
from deployments.queueing.gate import Gate
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
MODEL: dict[str, Any] = {"id": "it", "kind": "scripted", "tokens": 200, "token_ms": 20, "slots": 1}


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Service]:
    monkeypatch.setattr(keep_alive, "FIRST_S", 0.02)
    monkeypatch.setattr(keep_alive, "HELD_S", 0.02)
    monkeypatch.setattr(waiting, "QUEUED_S", 0.02)
    model = ScriptedModel(**MODEL, queue=QueueSettings(max_waiting=6, max_waiting_per_key=4))
    async with running(model) as service:
        yield service


def gate(service: Service) -> Gate:
    return service.models.model_queues.gate(service.models._settings["it"], ("", "it"))


async def key(service: Service, **more: Any) -> dict[str, str]:
    changes: KeyChanges = {"concurrent_requests": ANY_NUMBER, **more}  # type: ignore[typeddict-item]
    _, secret = await service.keys.create(f"key {len(await service.keys.list())}", changes)
    return {"authorization": f"Bearer {secret}"}


def body(**more: Any) -> dict[str, Any]:
    return {
        "model": "it",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 1,
        "max_tokens": 5,
        **more,
    }


class Asked:
    """Requests that are under way, and the order in which they were answered."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.answered: list[str] = []
        self.tasks: list[asyncio.Task[int]] = []

    async def ask(self, name: str, headers: dict[str, str], waiting: int, **more: Any) -> "asyncio.Task[int]":
        """Send a request; return once so many wait."""

        async def send() -> int:
            response = await self.service.http.post(PATH, json=body(**more), headers=headers)
            self.answered.append(name)
            return response.status_code

        self.tasks.append(asyncio.create_task(send()))
        await queued(self.service, waiting)
        return self.tasks[-1]


async def queued(service: Service, count: int) -> None:
    async with asyncio.timeout(30):
        while gate(service).queue.waiting != count or not gate(service).queue.slots.running:
            await asyncio.sleep(0.002)


async def test_a_light_key_waits_for_no_flood(service: Service) -> None:
    flood, light, asked = await key(service), await key(service), Asked(service)
    for at in range(4):
        await asked.ask(f"flood {at}", flood, at, max_tokens=60)
    await asked.ask("light", light, 4)
    assert await asyncio.gather(*asked.tasks) == [200] * 5
    assert asked.answered.index("light") <= 2
    assert gate(service).queue.slots.running == 0


async def test_a_stream_is_told_its_position_and_then_answered(service: Service) -> None:
    mine, asked = await key(service), Asked(service)
    await asked.ask("first", mine, 0, max_tokens=60)
    await asked.ask("second", mine, 1)
    async with service.http.stream("POST", PATH, json=body(stream=True), headers=mine) as response:
        assert response.status_code == 200 and response.headers["x-chatllm-queue-position"] == "2"
        lines = [line async for line in response.aiter_lines() if line]
    assert lines[0].startswith(": waiting in the queue, position 2")
    assert lines[-1] == "data: [DONE]"
    await asyncio.gather(*asked.tasks)


async def test_operators_are_told_what_waits(service: Service) -> None:
    mine, admin, asked = await key(service), await key(service, is_admin=True), Asked(service)
    for at in range(4):
        await asked.ask(f"mine {at}", mine, at, max_tokens=60)

    async def told() -> dict[str, Any]:
        response = await service.http.get("/v1/admin/metrics?window_s=60&step_s=60", headers=admin)
        return response.json()

    async with asyncio.timeout(10):
        while (metrics := await told())["models"][0]["queues"].get("interactive", {}).get("requests") != 3:
            await asyncio.sleep(0.05)
        queue = metrics["models"][0]["queues"]["interactive"]
        assert queue["tokens"] > 3 and 0 < queue["oldest_s"] < 10
        assert metrics["models"][0]["waiting"] == 0, "the engine has one request, which runs"
        assert metrics["points"][-1]["queued"] == {"it": 3}
        assert await asyncio.gather(*asked.tasks) == [200] * 4
        while (await told())["models"][0]["queues"]["interactive"]["requests"]:
            await asyncio.sleep(0.05)


async def test_past_the_bounds_a_key_and_everybody_hear_when_to_come_again(service: Service) -> None:
    flood, light, asked = await key(service), await key(service), Asked(service)
    for at in range(5):
        await asked.ask(f"flood {at}", flood, at, max_tokens=60)
    refused = await service.http.post(PATH, json=body(), headers=flood)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    for at in range(2):
        await asked.ask(f"light {at}", light, 5 + at)
    refused = await service.http.post(PATH, json=body(), headers=await key(service))
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert await asyncio.gather(*asked.tasks) == [200] * 7


async def test_who_leaves_while_waiting_never_reaches_the_model_and_pays_nothing(service: Service) -> None:
    mine, leaver, asked = await key(service), await key(service, tokens_per_minute=1000), Asked(service)
    await asked.ask("first", mine, 0, max_tokens=60)
    task = await asked.ask("gone", leaver, 1)
    task.cancel()
    await queued(service, 0)
    await asked.tasks[0]
    me = (await service.http.get("/v1/me", headers=leaver)).json()
    assert me["remaining"]["tokens_per_minute"]["remaining"] == 1000


async def test_what_cannot_be_answered_in_time_is_refused_at_once(service: Service) -> None:
    mine, asked = await key(service), Asked(service)
    learnt = [service.http.post(PATH, json=body(), headers=mine) for _ in range(5)]
    await asyncio.gather(*learnt)  # so that it is known how fast they end
    for at in range(4):
        await asked.ask(f"{at}", mine, at, max_tokens=5 if at else 100)
    headers = {**mine, "x-request-timeout": "0.01"}
    refused = await service.http.post(PATH, json=body(), headers=headers)
    assert refused.status_code == 503 and "time-out" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert await asyncio.gather(*asked.tasks) == [200] * 4


@pytest.mark.parametrize("header", ["x-request-timeout", "x-chatllm-priority"])
async def test_a_header_that_says_nothing_is_refused(service: Service, header: str) -> None:
    response = await service.http.post(PATH, json=body(), headers={header: "soon"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, header)


async def test_batch_requests_wait_for_interactive_ones(service: Service) -> None:
    batch, person, asked = await key(service, priority="batch"), await key(service), Asked(service)
    await asked.ask("first", person, 0, max_tokens=60)
    await asked.ask("batch", batch, 1)
    await asked.ask("second", person, 2)
    await asyncio.gather(*asked.tasks)
    assert asked.answered == ["first", "second", "batch"]


async def test_a_response_in_the_background_tells_its_position_behind_its_first_event(service: Service) -> None:
    mine, asked = await key(service), Asked(service)
    await asked.ask("first", mine, 0, max_tokens=100)
    asks = {"model": "it", "input": "hello", "background": True, "stream": True, "max_output_tokens": 5}
    async with service.http.stream("POST", "/v1/responses", json=asks, headers=mine) as response:
        lines = [line async for line in response.aiter_lines() if line not in ("", ": ping")]
    assert lines[0] == "event: response.created"
    assert any(line.startswith(": waiting in the queue, position 1") for line in lines)
    assert lines[-2] == "event: response.incomplete"  # all of its tokens were used
    await asyncio.gather(*asked.tasks)


async def test_a_response_in_the_background_waits_however_long_and_its_reader_soon_sees_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keep_alive, "FIRST_S", 0.1)
    monkeypatch.setattr(keep_alive, "HELD_S", 600.0)
    model = ScriptedModel(**MODEL, queue=QueueSettings(max_wait_s=0.3))
    asked = {"model": "it", "input": "hello", "background": True, "stream": True, "max_output_tokens": 2}
    async with running(model) as service:
        mine = await key(service)
        first = asyncio.create_task(service.http.post(PATH, json=body(max_tokens=60), headers=mine))
        await queued(service, 0)
        refused = asyncio.create_task(service.http.post(PATH, json=body(), headers=mine))
        await queued(service, 1)
        async with service.http.stream("POST", "/v1/responses", json=asked, headers=mine) as response:
            lines = [line async for line in response.aiter_lines() if line]
        assert (await refused).status_code == 503
        assert (await first).status_code == 200
    assert sum(line.startswith(": waiting in the queue, position ") for line in lines) == 1
    assert lines[-1].startswith('data: {"type":"response.') and '"status":"incomplete"' in lines[-1]
