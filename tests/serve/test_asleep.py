"""A model without a replica is woken by its requests, which are held meanwhile; all through HAProxy's port."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.launched import Launched, launched, service_file
from tests.serve.redeployed import processes, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"
LOAD_S = 4.0
AUTOSCALING = {
    "min_replicas": 0,
    "max_replicas": 3,
    "target_ongoing_requests": 4,
    "upscale_delay_s": 1,
    "downscale_delay_s": 2,
    "look_back_period_s": 2,
    "metrics_interval_s": 0.5,
}
MODELS: list[dict[str, Any]] = [
    {"id": "quick", "kind": "scripted", "tokens": 8},
    {"id": "asleep", "kind": "scripted", "tokens": 40, "token_ms": 50, "load_s": LOAD_S, "embedding_dimensions": 4},
    {"id": "narrow", "kind": "scripted", "tokens": 4, "load_s": LOAD_S, "max_held_requests": 2},
    {"id": "covered", "kind": "scripted", "tokens": 4, "load_s": LOAD_S, "fallback": ["quick"]},
]
ZERO = ("asleep", "narrow", "covered")


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The service; all models but `quick` have no replica while nobody asks for them."""
    file = service_file(MODELS, {"Ingress": 2})
    for deployment in file["applications"][0]["deployments"]:
        if deployment["name"].removeprefix("model-") in ZERO:
            del deployment["num_replicas"]
            deployment["autoscaling_config"] = AUTOSCALING
    with launched(file) as running:
        yield running


async def state(http: httpx.AsyncClient, model: str) -> dict[str, Any]:
    found = (await http.get("/ready")).json()["models"]
    return next(each for each in found if each["id"] == model)


async def becomes(http: httpx.AsyncClient, model: str, *statuses: str) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while True:
            # Each of the two ingress replicas must say so.
            seen = [await state(http, model) for _ in range(6)]
            if all(each["status"] in statuses for each in seen):
                return seen[-1]
            await asyncio.sleep(0.3)


def body(model: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def client(service: Launched) -> AsyncGenerator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
    async with service.client(limits=limits) as http:
        http.timeout = httpx.Timeout(120)
        yield http


async def streamed(http: httpx.AsyncClient, text: str) -> tuple[float, list[str], str]:
    """Return after how many seconds the headers came, the comments, and the whole text."""
    began, comments, said = time.monotonic(), [], []
    async with http.stream("POST", PATH, json=body("asleep", text, stream=True)) as response:
        headers_s = time.monotonic() - began
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith(":"):
                comments.append(line)
            elif line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                said += [choice["delta"].get("content") or "" for choice in event["choices"]]
            elif line == "data: [DONE]":
                return headers_s, comments, "".join(said)
    raise AssertionError(f"the stream was cut after {comments} {said}")


async def test_the_service_is_ready_though_models_sleep(service: Launched) -> None:
    async with client(service) as http:
        for model in ZERO:
            await becomes(http, model, "asleep")
        listed = {each["id"]: each["status"] for each in (await http.get("/v1/models")).json()["data"]}
        assert {name: listed[name] for name in ZERO} == dict.fromkeys(ZERO, "asleep")
    said = service.chatllm("status")
    assert "model-asleep asleep" in said and "failed" not in said


async def test_streams_and_plain_requests_wake_it_and_none_is_refused(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "asleep", "asleep")
        streams = [asyncio.create_task(streamed(http, f"stream {n}")) for n in range(20)]
        plain = [asyncio.create_task(http.post(PATH, json=body("asleep", f"plain {n}"))) for n in range(20)]
        answers = [await task for task in plain]
        assert [answer.status_code for answer in answers] == [200] * 20
        for headers_s, comments, text in [await task for task in streams]:
            assert headers_s < LOAD_S / 2
            assert comments[0].startswith(": waiting for a replica") and len(text.split()) == 40


async def test_more_requests_than_one_replica_takes_start_more(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "asleep", "asleep", "ready")
        asked = [asyncio.create_task(http.post(PATH, json=body("asleep", f"n {n}", max_tokens=400))) for n in range(24)]
        async with asyncio.timeout(90):
            while (await state(http, "asleep"))["replicas"] < 2:
                if all(task.done() for task in asked):
                    asked += [asyncio.create_task(http.post(PATH, json=body("asleep", f"m {n}"))) for n in range(24)]
                await asyncio.sleep(0.2)
        assert {(await task).status_code for task in asked} == {200}


async def test_openais_client_passes_over_the_comments_and_is_told_the_time(service: Launched) -> None:
    sdk = openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0, timeout=120)
    async with client(service) as http, sdk:
        told_s, took_s = 0, list[float]()
        for _ in range(4):
            await becomes(http, "asleep", "asleep")
            refused = await http.post(PATH, json=body("asleep"), headers={"x-chatllm-wait": "0"})
            began = time.monotonic()
            assert refused.status_code == 503 and refused.json()["error"]["code"] == "model_loading"
            told_s = int(refused.headers["retry-after"])
            stream = await sdk.chat.completions.create(
                model="asleep", messages=[{"role": "user", "content": "hello"}], stream=True
            )
            first_s = 0.0
            async for chunk in stream:
                first_s = first_s or time.monotonic() - began
                assert chunk.object == "chat.completion.chunk"
            took_s.append(first_s)
        # The median of the last five starts, of which these are three: it lies between them, whatever the machine does.
        *before, _ = took_s
        assert 0.7 * min(before) <= told_s <= 1.3 * max(before) + 1  # Retry-After is in whole seconds, rounded up


async def test_langchain_passes_over_the_comments_of_a_held_stream(service: Launched) -> None:
    chat = ChatOpenAI(model="asleep", base_url=f"{service.url}/v1", api_key=SecretStr(service.key), max_retries=0)
    async with client(service) as http:
        await becomes(http, "asleep", "asleep")
        said = [str(chunk.content) async for chunk in chat.astream("hello to LangChain")]
    assert len("".join(said).split()) == 40


async def test_a_request_says_how_long_it_waits(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "narrow", "asleep")
        began = time.monotonic()
        answer = await http.post(PATH, json=body("narrow"), headers={"x-chatllm-wait": "1"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_loading")
        assert 1 <= time.monotonic() - began < LOAD_S and int(answer.headers["retry-after"]) >= 1
        wrong = await http.post(PATH, json=body("narrow"), headers={"x-chatllm-wait": "soon"})
        assert wrong.status_code == 400


async def test_those_past_the_bound_are_refused(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "narrow", "asleep")
        answers = await asyncio.gather(*(http.post(PATH, json=body("narrow", f"{n}")) for n in range(12)))
        statuses = [answer.status_code for answer in answers]
        # Two in each of the two ingress replicas.
        assert 2 <= statuses.count(200) <= 4 and statuses.count(503) == 12 - statuses.count(200)
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


async def test_a_fallback_answers_before_anyone_waits_and_the_model_wakes(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "covered", "asleep")
        began = time.monotonic()
        answer = await http.post(PATH, json=body("covered"))
        assert (answer.status_code, answer.headers["x-chatllm-model"]) == (200, "quick")
        assert time.monotonic() - began < LOAD_S / 2
        await becomes(http, "covered", "ready")


async def test_a_client_that_leaves_withdraws_its_demand(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "asleep", "asleep")
        waiting = asyncio.create_task(http.post(PATH, json=body("asleep")))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            while (await state(http, "asleep"))["status"] == "asleep":
                await asyncio.sleep(0.1)
        waiting.cancel()
        # What Serve has begun to start it also ends, as nobody asks for it.
        await becomes(http, "asleep", "asleep")
        metrics = service.chatllm("status")
        assert "model-asleep asleep" in metrics


async def test_a_plain_endpoint_waits_too(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "asleep", "asleep")
        answer = await http.post("/v1/embeddings", json={"model": "asleep", "input": "hello"})
        assert answer.status_code == 200 and answer.json()["data"]


async def test_a_long_stream_ends_whole_before_its_replica_stops_and_the_next_one_wakes_it(service: Launched) -> None:
    async with client(service) as http:
        await becomes(http, "asleep", "asleep", "ready")
        said: list[str] = []
        request = body("asleep", "long", stream=True, max_tokens=160)
        async with http.stream("POST", PATH, json=request) as response:
            said += [line async for line in response.aiter_lines()]
        assert said[-2:] == ["data: [DONE]", ""] and not any("error" in line for line in said)
        await becomes(http, "asleep", "asleep")
        assert (await http.post(PATH, json=body("asleep", "again"))).status_code == 200


async def test_held_requests_outlive_the_crash_of_what_they_wait_for_and_of_who_holds_them(service: Launched) -> None:
    """The replica that is being started for them is killed, and then one of the two ingress replicas."""
    async with client(service) as http:
        await becomes(http, "asleep", "asleep")
        held = [asyncio.create_task(http.post(PATH, json=body("asleep", f"held {n}"))) for n in range(8)]

        async def starts() -> bool:
            return bool(processes(service).get("model-asleep:model-asleep"))

        await until(starts)
        os.kill(processes(service)["model-asleep:model-asleep"].pop(), signal.SIGKILL)
        os.kill(processes(service)["chatllm:Ingress"].pop(), signal.SIGKILL)
        answers = await asyncio.gather(*held)
        assert [answer.status_code for answer in answers] == [200] * 8, [answer.text for answer in answers]
