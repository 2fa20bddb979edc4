"""A model is deployed anew while requests wait for it, or without a second replica beside it: none is refused."""

import asyncio
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from tests.launched import Launched, launched
from tests.serve.redeployed import (
    Document,
    application,
    ask,
    changed,
    deploy,
    deployed_document,
    load,
    model,
    processes,
    service_file,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOAD_S = 4.0
BEFORE, AFTER = 40, 5
"""Tokens of an answer before and after the change; by that it is seen which replica gave it."""
SCALING = {"min_replicas": 0, "max_replicas": 1, "upscale_delay_s": 1, "downscale_delay_s": 5, "look_back_period_s": 2}
ZERO, ALONE = "model-zero:model-zero", "model-alone:model-alone"


def from_zero() -> Document:
    found = model("zero", tokens=BEFORE, load_s=LOAD_S)
    del found["deployments"][0]["num_replicas"]
    found["deployments"][0]["autoscaling_config"] = SCALING
    return found


def without_surge() -> Document:
    found = model("alone", tokens=BEFORE, token_ms=50, load_s=LOAD_S)
    found["deployments"][0]["max_surge_percent"] = 0
    return found


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    document = service_file()
    document["applications"] += [from_zero(), without_surge()]
    with launched(document) as running:
        yield running


def shortened(service: Launched, name: str) -> Document:
    """Return the service file with a model of shorter answers, which needs another replica."""
    document = changed(deployed_document(service))
    application(document, f"model-{name}")["args"]["tokens"] = AFTER
    return document


async def tokens(answer: "asyncio.Task[httpx.Response]") -> int:
    response = await answer
    assert response.status_code == 200, response.text
    return response.json()["usage"]["completion_tokens"]


async def streamed(http: httpx.AsyncClient, number: int) -> str:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": f"stream {number}"}], "stream": True}
    async with http.stream("POST", "/v1/chat/completions", json={"model": "zero", **body}) as response:
        assert response.status_code == 200, await response.aread()
        return (await response.aread()).decode()


async def test_requests_that_wake_a_model_outlive_its_replacement(service: Launched) -> None:
    async with service.client() as http:

        async def sleeps() -> bool:
            told = (await http.get("/ready")).json()["models"]
            return any(one["id"] == "zero" and one["status"] == "asleep" for one in told)

        await until(sleeps)
        plain = [asyncio.create_task(ask(http, "zero", seed=number)) for number in range(8)]
        streams = [asyncio.create_task(streamed(http, number)) for number in range(8)]

        async def starts() -> bool:
            return bool(processes(service).get(ZERO))

        await until(starts)
        assert not any(task.done() for task in (*plain, *streams))
        await deploy(service, shortened(service, "zero"))
        assert [await tokens(task) for task in plain] == [AFTER] * 8
        for text in [await task for task in streams]:
            assert text.startswith(": waiting for a replica") and '"error"' not in text
            assert text.rstrip().endswith("data: [DONE]")


async def test_the_only_replica_is_replaced_and_none_is_refused(service: Launched) -> None:
    before = processes(service)[ALONE]
    async with service.client() as http, load(service, "alone", users=6) as running:

        async def has_answered() -> bool:
            return running.answered["alone"] >= 6

        async def is_other() -> bool:
            answer = await ask(http, "alone")
            return answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == AFTER

        async def is_replaced() -> bool:
            now = processes(service).get(ALONE, set())
            return bool(now) and not now & before

        await until(has_answered)
        await deploy(service, shortened(service, "alone"))
        await until(is_other)
        await until(is_replaced)
    assert running.failed == []
