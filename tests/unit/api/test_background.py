"""Responses in the background as a chat page uses them: live, on any branch, found again, cancelled at once."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from deployments.config import ScriptedModel
from tests.unit.api.conftest import Service, running

PATH = "/v1/responses"


async def conversation(service: Service) -> str:
    return (await service.http.post("/v1/conversations", json={})).json()["id"]


async def events(service: Service, **body: Any) -> AsyncGenerator[dict[str, Any]]:
    asked = {"model": "quick", "input": "hello", "background": True, "stream": True, **body}
    async with service.http.stream("POST", PATH, json=asked) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                yield orjson.loads(line[5:])


async def texts(service: Service, conversation_id: str) -> dict[str, str | None]:
    items = (await service.http.get(f"/v1/conversations/{conversation_id}/items")).json()["data"]
    by_id = {item["id"]: item["content"][0]["text"] for item in items}
    return {by_id[item["id"]]: by_id.get(item["parent_id"]) for item in items}


async def test_no_token_waits_for_a_write(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.responses.background.FLUSH_S", 60)
    came_early, numbers = 0, list[int]()
    async with asyncio.timeout(10):
        async for event in events(service, model="slow", max_output_tokens=30):
            numbers.append(event["sequence_number"])
            if event["type"] == "response.output_text.delta":
                came_early += await service.models.replicas["slow"].running()
    assert came_early > 20, "while the model still generates"
    assert numbers == list(range(len(numbers)))


async def test_the_beginning_of_the_answer_tells_where_it_comes_from(service: Service) -> None:
    seen = [[event async for event in events(service, temperature=0)] for _ in range(2)]
    for told, of_cache in zip(seen, ("MISS", "HIT"), strict=True):
        assert [event["type"] for event in told[:2]] == ["response.created", "response.in_progress"]
        assert (told[0]["response"]["status"], told[1]["response"]["status"]) == ("queued", "in_progress")
        assert told[1]["x_cache"] == of_cache


async def test_a_failure_tells_the_code_that_a_request_would_have_failed_with() -> None:
    model = ScriptedModel(id="quick", kind="scripted", tokens=8, context_tokens=4)
    async with running(model) as service:
        last = [event async for event in events(service, input="far too many words for this")][-1]
    assert last["type"] == "response.failed"
    error = last["response"]["error"]
    assert (error["code"], error["reason"]) == ("invalid_prompt", "context_length_exceeded")


async def test_a_response_follows_any_item_of_its_conversation(service: Service) -> None:
    into: dict[str, Any] = {"conversation": await conversation(service), "max_output_tokens": 1}
    created = [event async for event in events(service, **into, input="first")][-1]["response"]
    answer = created["output"][0]["id"]
    for asked, parent in (("second", answer), ("beside", answer), ("anew", "")):
        assert [event async for event in events(service, **into, input=asked, parent=parent)]
    said = await texts(service, into["conversation"])
    assert said["second"] == said["beside"] == "first " and said["anew"] is None
    refused = await service.http.post(PATH, json={"input": "x", "parent": answer})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "parent")
    unknown = {"input": "x", **into, "parent": "msg_nobody", "background": True}
    assert (await service.http.post(PATH, json=unknown)).status_code == 404


async def test_an_answer_is_gone_on_with(service: Service) -> None:
    into: dict[str, Any] = {"conversation": await conversation(service), "max_output_tokens": 2}
    asked = [event async for event in events(service, **into, input="Count.")][-1]["response"]
    question = (await service.http.get(f"{PATH}/{asked['id']}/input_items")).json()["data"][0]["id"]
    cut = [{"role": "assistant", "content": "One, two"}]
    going_on = {"continue_final_message": True, "add_generation_prompt": False, "parent": question}
    assert [event async for event in events(service, **into, input=cut, **going_on)]
    assert (await texts(service, into["conversation"]))["One, two"] == "Count."


async def test_what_runs_is_found_by_its_conversation(service: Service) -> None:
    into = await conversation(service)
    path = f"/v1/conversations/{into}/responses"
    body = {"model": "slow", "input": "hello", "background": True, "conversation": into}
    begun = [(await service.http.post(PATH, json=body)).json()["id"] for _ in range(2)]
    listed = (await service.http.get(path, params={"status": "in_progress"})).json()
    assert [response["id"] for response in listed["data"]] == begun[::-1]
    assert (await service.http.get(path, params={"status": "completed"})).status_code == 400
    assert (await service.http.get("/v1/conversations/conv_nobody/responses")).status_code == 404
    for response_id in begun:
        await service.http.post(f"{PATH}/{response_id}/cancel")
    assert (await service.http.get(path)).json()["data"] == []


async def test_who_cancels_where_it_runs_does_not_wait_for_a_write(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.responses.background.FLUSH_S", 60)
    seen: list[dict[str, Any]] = []
    async for event in events(service, model="slow"):
        seen.append(event)
        if event["type"] == "response.output_text.delta":
            await service.http.post(f"{PATH}/{seen[0]['response']['id']}/cancel")
    assert seen[-1]["response"]["status"] == "cancelled"
    assert not await service.models.replicas["slow"].running()
    stored = (await service.http.get(f"{PATH}/{seen[0]['response']['id']}")).json()
    assert stored["output"] == seen[-1]["response"]["output"]


async def test_what_is_deleted_while_it_runs_ends_its_stream(service: Service) -> None:
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        async for event in events(service, model="slow"):
            seen.append(event)
            if len(seen) == 3:
                await service.http.delete(f"{PATH}/{seen[0]['response']['id']}")
    assert seen[-1]["error"]["code"] == "not_found"
    assert not await service.models.replicas["slow"].running()
