"""Chat completions over real HTTP, with scripted models."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from deployments.config import Limits, ScriptedModel
from tests.unit.api.conftest import Service, running

HELLO = [{"role": "user", "content": "hello big world"}]
PATH = "/v1/chat/completions"


def body(model: str = "quick", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, **more}


async def events(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def text(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


async def until(condition: Any, timeout_s: float = 2.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_plain_and_streamed_answers_say_the_same(service: Service) -> None:
    plain = await service.http.post(PATH, json=body())
    assert plain.status_code == 200
    async with service.http.stream("POST", PATH, json=body(stream=True)) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        chunks = await events(streamed)
    assert text(chunks) == plain.json()["choices"][0]["message"]["content"] == "hello big world " * 2 + "hello big "
    assert plain.json()["usage"]["completion_tokens"] == 8


async def test_usage_comes_only_when_asked_for(service: Service) -> None:
    for options, expected in (({}, 0), ({"stream_options": {"include_usage": True}}, 1)):
        async with service.http.stream("POST", PATH, json=body(stream=True, **options)) as response:
            chunks = await events(response)
        assert sum(bool(chunk.get("usage")) for chunk in chunks) == expected


async def test_the_first_event_arrives_before_the_last_is_made(service: Service) -> None:
    began = time.perf_counter()
    async with service.http.stream("POST", PATH, json=body("slow", stream=True, max_tokens=40)) as response:
        async for _ in response.aiter_lines():
            break
        assert time.perf_counter() - began < 0.4
        assert await service.models.replicas["slow"].running() == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_model(service: Service, stream: bool) -> None:
    replica = service.models.replicas["slow"]

    async def ask() -> None:
        async with service.http.stream("POST", PATH, json=body("slow", stream=stream)) as response:
            async for _ in response.aiter_lines():
                await asyncio.sleep(60)

    asking = asyncio.create_task(ask())
    await until(lambda: replica._running == 1)
    await asyncio.sleep(0.1)
    asking.cancel()
    await until(lambda: replica._running == 0, 0.5)


async def test_a_deterministic_request_is_generated_once(service: Service) -> None:
    first = await service.http.post(PATH, json=body(temperature=0))
    again = await service.http.post(PATH, json=body(temperature=0))
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "HIT")
    assert again.headers["age"] == "0"
    assert first.json()["id"] != again.json()["id"]
    assert first.json()["choices"] == again.json()["choices"]
    async with service.http.stream("POST", PATH, json=body(temperature=0, stream=True)) as streamed:
        assert streamed.headers["x-cache"] == "HIT"
        assert text(await events(streamed)) == first.json()["choices"][0]["message"]["content"]
    assert (await service.http.post(PATH, json=body())).headers["x-cache"] == "BYPASS"


async def test_two_keys_share_no_answer(service: Service) -> None:
    await service.http.post(PATH, json=body(seed=1))
    _, other = await service.keys.create("other")
    response = await service.http.post(PATH, json=body(seed=1), headers={"authorization": f"Bearer {other}"})
    assert response.headers["x-cache"] == "MISS"


async def test_a_conversation_remembers_both_sides(service: Service) -> None:
    conversation = (await service.http.post("/v1/conversations", json={})).json()["id"]
    await service.http.post(PATH, json=body(conversation=conversation))
    second = await service.http.post(
        PATH, json={"model": "quick", "messages": [{"role": "user", "content": "more"}], "conversation": conversation}
    )
    assert second.json()["usage"]["prompt_tokens"] == 3 + 8 + 1
    items = (await service.http.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [item["role"] for item in items] == ["user", "assistant", "user", "assistant"]
    assert [item["parent_id"] for item in items] == [None, *[item["id"] for item in items[:-1]]]
    assert items[0]["content"] == [{"type": "input_text", "text": "hello big world"}]
    assert items[3]["content"][0]["text"] == "more " * 8


async def test_an_interrupted_answer_is_kept_as_incomplete(service: Service) -> None:
    conversation = (await service.http.post("/v1/conversations", json={})).json()["id"]
    request = body("slow", stream=True, conversation=conversation)
    async with service.http.stream("POST", PATH, json=request) as response:
        lines = response.aiter_lines()
        for _ in range(8):
            await anext(lines)
    await until(lambda: service.writer.written == 2)
    items = (await service.http.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [(item["role"], item["status"]) for item in items] == [("user", "completed"), ("assistant", "incomplete")]
    assert items[1]["content"][0]["text"].startswith("hello big")


async def test_a_failure_in_mid_stream_is_an_error_event_and_leaves_nothing_in_the_cache() -> None:
    async with running(ScriptedModel(id="weak", kind="scripted", tokens=9, fail_after=3)) as service:
        for _ in range(2):
            async with service.http.stream("POST", PATH, json=body("weak", stream=True, seed=1)) as response:
                assert response.headers["x-cache"] == "MISS"
                chunks = await events(response)
            assert chunks[-1]["error"]["code"] == "internal_error"
            assert chunks[-1]["error"]["request_id"] == response.headers["x-request-id"]
            assert text(chunks[:-1]) == "hello big world "


async def test_a_model_that_loads_is_503_for_who_does_not_wait(service: Service) -> None:
    service.models.is_ready = False
    for stream in (True, False):
        response = await service.http.post(PATH, json=body(stream=stream), headers={"x-chatllm-wait": "0"})
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["code"] == "model_loading"
    ready = await service.http.get("/ready")
    assert ready.status_code == 503
    assert ready.json()["models"][0]["status"] == "loading"
    assert (await service.http.get("/health")).status_code == 200


async def test_capacity_is_bounded() -> None:
    model = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)
    async with running(model, limits=Limits(max_concurrent_requests=1)) as service:
        async with service.http.stream("POST", PATH, json=body("slow", stream=True)):
            refused = await service.http.post(PATH, json=body("slow"))
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
