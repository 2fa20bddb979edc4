"""What a client sees while its model has no replica: comments, pings, or nothing, then the answer."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import openai
import pytest

from deployments.api.http import keep_alive
from deployments.config import ScriptedModel, Timeouts
from deployments.errors import ModelFailed
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
MODEL: dict[str, Any] = {"id": "it", "kind": "scripted", "tokens": 4, "embedding_dimensions": 4}


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Service]:
    monkeypatch.setattr(keep_alive, "FIRST_S", 0.05)
    monkeypatch.setattr(keep_alive, "HELD_S", 0.05)
    models = ScriptedModel(**MODEL, max_held_requests=2), ScriptedModel(id="other", kind="scripted")
    async with running(*models, timeouts=Timeouts(silence_s=0.4)) as service:
        service.models.is_ready = False
        service.models.starts_in_s = 40.0
        yield service


def body(**more: Any) -> dict[str, Any]:
    return {"model": "it", "messages": [{"role": "user", "content": "hello"}], **more}


async def held(service: Service, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while service.models.rooms["it"].held != count:
            await asyncio.sleep(0.005)


async def test_a_stream_begins_at_once_and_is_told_how_long(service: Service) -> None:
    async with service.http.stream("POST", PATH, json=body(stream=True)) as response:
        assert response.status_code == 200 and response.headers["x-chatllm-model"] == "it"
        lines = response.aiter_lines()
        told = [await anext(lines) for _ in range(5)]
        assert told == [": waiting for a replica, about 40 s", ""] * 2 + told[:1]
        service.models.is_ready = True
        rest = [line async for line in lines if line and not line.startswith(":")]
    assert rest[-1] == "data: [DONE]" and len(rest) > 4
    await held(service, 0)


@pytest.mark.parametrize("path", [PATH, "/v1/responses", "/v1/embeddings", "/v1/messages", "/v1/completions"])
async def test_a_plain_request_just_waits(service: Service, path: str) -> None:
    asked = {
        "/v1/responses": {"model": "it", "input": "hello"},
        "/v1/embeddings": {"model": "it", "input": "hello"},
        "/v1/completions": {"model": "it", "prompt": "hello"},
        "/v1/messages": body(max_tokens=4),
    }.get(path, body())
    waiting = asyncio.create_task(service.http.post(path, json=asked))
    await held(service)
    service.models.is_ready = True
    assert (await waiting).status_code == 200
    await held(service, 0)


async def test_who_leaves_gives_the_place_back(service: Service) -> None:
    waiting = asyncio.create_task(service.http.post(PATH, json=body()))
    await held(service)
    waiting.cancel()
    await held(service, 0)
    async with service.http.stream("POST", PATH, json=body(stream=True)):
        await held(service)
    await held(service, 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_who_does_not_wait_is_told_the_estimate(service: Service, stream: bool) -> None:
    answer = await service.http.post(PATH, json=body(stream=stream), headers={"x-chatllm-wait": "0"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "40")
    assert answer.json()["error"]["code"] == "model_loading"


async def test_a_wait_that_ends_is_a_503_and_in_a_stream_its_last_event(service: Service) -> None:
    patience = {"x-chatllm-wait": "0.2"}
    plain = await service.http.post(PATH, json=body(), headers=patience)
    assert (plain.status_code, plain.headers["retry-after"]) == (503, "40")
    streamed = await service.http.post(PATH, json=body(stream=True), headers=patience)
    assert streamed.status_code == 200
    events = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "model_loading"
    await held(service, 0)


@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf", "1e9", "", "0x1", "9" * 10])
async def test_a_wait_that_is_no_number_is_refused(service: Service, value: str) -> None:
    answer = await service.http.post(PATH, json=body(), headers={"x-chatllm-wait": value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-chatllm-wait")


async def test_one_too_many_is_refused_and_identical_requests_count_each(service: Service) -> None:
    waiting = [asyncio.create_task(service.http.post(PATH, json=body(temperature=0))) for _ in range(2)]
    await held(service, 2)
    refused = await service.http.post(PATH, json=body(temperature=0))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "40")
    service.models.is_ready = True
    assert [(await each).status_code for each in waiting] == [200, 200]


async def test_one_that_joins_and_gives_up_leaves_the_other_waiting(service: Service) -> None:
    first = asyncio.create_task(service.http.post(PATH, json=body(temperature=0)))
    await held(service)
    joined = await service.http.post(PATH, json=body(temperature=0), headers={"x-chatllm-wait": "0.1"})
    assert joined.status_code == 503
    service.models.is_ready = True
    assert (await first).status_code == 200


async def test_a_cached_answer_does_not_wait(service: Service) -> None:
    service.models.is_ready = True
    assert (await service.http.post(PATH, json=body(temperature=0))).headers["x-cache"] == "MISS"
    service.models.is_ready = False
    answer = await service.http.post(PATH, json=body(temperature=0))
    assert answer.headers["x-cache"] == "HIT"


async def test_anthropics_stream_has_comments_before_its_first_event(service: Service) -> None:
    async with service.http.stream("POST", "/v1/messages", json=body(stream=True, max_tokens=4)) as response:
        lines = response.aiter_lines()
        told = [await anext(lines) for _ in range(4)]
        assert told == [": waiting for a replica, about 40 s", ""] * 2
        service.models.is_ready = True
        rest = [line async for line in lines if line.startswith("event: ")]
    assert rest[0] == "event: message_start"
    assert rest[-1] == "event: message_stop"


async def test_openais_and_anthropics_clients_pass_over_it(service: Service) -> None:
    key = service.http.headers["authorization"].removeprefix("Bearer ")
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as sdk:
        chat = await sdk.chat.completions.create(
            model="it", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        response = await sdk.responses.create(model="it", input="hello", stream=True)
        await held(service, 2)
        service.models.is_ready = True
        assert len([chunk async for chunk in chat]) > 3
        assert [event.type async for event in response][-1] == "response.completed"
    service.models.is_ready = False
    async with (
        anthropic.AsyncAnthropic(base_url=service.url, api_key=key, max_retries=0) as sdk,
        sdk.messages.stream(model="it", max_tokens=4, messages=[{"role": "user", "content": "hello"}]) as stream,
    ):
        await held(service)
        service.models.is_ready = True
        assert (await stream.get_final_message()).content


async def test_a_stream_of_a_background_response_waits_without_its_client(service: Service) -> None:
    created = (await service.http.post("/v1/responses", json={"model": "it", "input": "hi", "background": True})).json()
    await held(service)
    service.models.is_ready = True
    async with asyncio.timeout(10):
        while (await service.http.get(f"/v1/responses/{created['id']}")).json()["status"] != "completed":
            await asyncio.sleep(0.05)


async def test_a_failed_model_is_an_error_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hold(_model: str, _wait_s: float | None) -> None:
        raise ModelFailed

    monkeypatch.setattr(service.models, "hold", hold)
    answer = await service.http.post(PATH, json=body(stream=True))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_failed")


async def test_a_long_prefill_is_not_silent() -> None:
    model = ScriptedModel(id="it", kind="scripted", tokens=4, prefill_ms=700, token_ms=300)
    async with (
        running(model, timeouts=Timeouts(silence_s=0.15)) as service,
        service.http.stream("POST", PATH, json=body(stream=True)) as response,
    ):
        lines = [line async for line in response.aiter_lines() if line]
    first = next(at for at, line in enumerate(lines) if line.startswith("data: "))
    assert response.status_code == 200 and lines[-1] == "data: [DONE]"
    assert first >= 2 and set(lines[:first]) == {": ping"}
    assert ": ping" in lines[first:]
