"""Identical requests at the same time are one generation, and nobody's end is anybody else's."""

import asyncio
import json
from collections import Counter
from typing import Any

import httpx

from deployments.config import ScriptedModel
from deployments.models.protocol import ModelRequest
from deployments.models.scripted.replica import ScriptedReplica
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
SLOW = {"model": "slow", "messages": [{"role": "user", "content": "hello world"}], "temperature": 0, "max_tokens": 40}


def counted(service: Service) -> Counter[str]:
    """Return a counter of the generations that the model is asked for from now on."""
    replica, asked = service.models.replicas["slow"], Counter[str]()

    class Counting(ScriptedReplica):
        async def generate(self, model_request: ModelRequest) -> Any:
            asked["slow"] += 1
            async for message in replica.generate(model_request):
                yield message

        async def running(self) -> int:
            return await replica.running()

    service.models.replicas = {**service.models.replicas, "slow": Counting(ScriptedModel(id="slow", kind="scripted"))}
    return asked


async def stream(service: Service, stop_after: int | None = None, **more: Any) -> tuple[str, str, list[dict[str, Any]]]:
    """Return what X-Cache said, the text and the events; leaves after `stop_after` events."""
    events: list[dict[str, Any]] = []
    async with service.http.stream("POST", PATH, json={**SLOW, "stream": True, **more}) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                events.append(json.loads(line.removeprefix("data: ")))
                if len(events) == stop_after:
                    break
    text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    return response.headers["x-cache"], text, events


async def until_idle(service: Service) -> None:
    async with asyncio.timeout(5):
        while await service.models.running("slow"):
            await asyncio.sleep(0.01)


async def test_a_hundred_streams_are_one_generation(service: Service) -> None:
    asked = counted(service)
    answers = await asyncio.gather(*(stream(service) for _ in range(100)))
    assert asked["slow"] == 1
    assert Counter(result for result, _, _ in answers) == {"MISS": 1, "JOIN": 99}
    assert len({text for _, text, _ in answers}) == 1
    assert len(answers[0][1].split()) == 40
    ids = [{event["id"] for event in events} for _, _, events in answers]
    assert all(len(each) == 1 for each in ids)
    assert len(set.union(*ids)) == 100


async def test_the_first_one_leaves_and_the_others_have_it_whole(service: Service) -> None:
    asked = counted(service)
    leader = asyncio.create_task(stream(service, stop_after=10))
    await asyncio.sleep(0.1)
    others = await asyncio.gather(*(stream(service) for _ in range(20)))
    assert (await leader)[0] == "MISS"
    assert {len(text.split()) for _, text, _ in others} == {40}
    assert asked["slow"] == 1


async def test_when_all_leave_the_model_stops_and_nothing_is_stored(service: Service) -> None:
    await asyncio.gather(*(stream(service, stop_after=5, max_tokens=400) for _ in range(5)))
    await until_idle(service)
    assert (await stream(service, stop_after=1, max_tokens=400))[0] == "MISS"


async def test_plain_and_streamed_requests_share_a_stream(service: Service) -> None:
    asked = counted(service)
    streaming = asyncio.create_task(stream(service))
    await asyncio.sleep(0.1)
    plain = await service.http.post(PATH, json=SLOW)
    assert plain.headers["x-cache"] == "JOIN"
    assert plain.json()["choices"][0]["message"]["content"] == (await streaming)[1]
    assert plain.json()["usage"]["completion_tokens"] == 40
    assert asked["slow"] == 1


async def test_plain_requests_are_one_generation(service: Service) -> None:
    asked = counted(service)
    answers = await asyncio.gather(*(service.http.post(PATH, json=SLOW) for _ in range(20)))
    assert asked["slow"] == 1
    assert len({answer.json()["id"] for answer in answers}) == 20
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1


async def test_sampled_requests_and_other_tenants_do_not_join(service: Service) -> None:
    asked = counted(service)
    await asyncio.gather(*(stream(service, stop_after=3, temperature=1) for _ in range(3)))
    assert asked["slow"] == 3
    _, other = await service.keys.create("other")
    async with httpx.AsyncClient(base_url=service.url, headers={"authorization": f"Bearer {other}"}) as http:
        one, two = await asyncio.gather(
            service.http.post(PATH, json={**SLOW, "max_tokens": 5}), http.post(PATH, json={**SLOW, "max_tokens": 5})
        )
    assert (one.headers["x-cache"], two.headers["x-cache"]) == ("MISS", "MISS")


async def test_a_failure_is_everybodys() -> None:
    model = ScriptedModel(id="slow", kind="scripted", tokens=40, token_ms=10, fail_after=10)
    async with running(model) as service:
        for _ in range(2):  # and it is not kept
            asked = counted(service)
            answers = await asyncio.gather(*(service.http.post(PATH, json=SLOW) for _ in range(5)))
            assert {answer.status_code for answer in answers} == {500}
            assert asked["slow"] == 1
            service.models.replicas = {"slow": ScriptedReplica(model)}
