"""Responses over two ingress replicas: no part of one depends on the replica that began it."""

import asyncio
import json
import os
import signal
from typing import Any

import httpx
import pytest

from tests.launched import Launched
from tests.serve.test_faults import replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/responses"


async def ask(service: Launched, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one request over a connection of its own, so that any replica may get it."""
    async with service.client() as http:
        return await http.request(method, path, **options)


async def begun(service: Launched, tokens: int) -> str:
    body = {"model": "slow", "input": "hello", "background": True, "max_output_tokens": tokens}
    response = await ask(service, "POST", PATH, json=body)
    assert (response.status_code, response.json()["status"]) == (200, "queued")
    return response.json()["id"]


async def ended(service: Launched, response_id: str, timeout_s: float = 60) -> dict[str, Any]:
    async with asyncio.timeout(timeout_s):
        while True:
            response = await ask(service, "GET", f"{PATH}/{response_id}")
            if response.status_code == 200 and response.json()["status"] not in ("queued", "in_progress"):
                return response.json()
            await asyncio.sleep(0.2)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


async def test_a_chain_goes_over_the_replicas(service: Launched) -> None:
    previous: dict[str, Any] = {}
    for turn in range(8):
        body = {"model": "quick", "input": f"turn {turn}", **previous}
        response = await ask(service, "POST", PATH, json=body)
        assert response.status_code == 200, response.text
        assert response.json()["usage"]["input_tokens"] == turn * (2 + 16) + 2
        previous = {"previous_response_id": response.json()["id"]}


async def test_the_background_is_polled_resumed_and_cancelled_from_any_replica(service: Launched) -> None:
    response_id = await begun(service, 60)
    streams = await asyncio.gather(
        *(ask(service, "GET", f"{PATH}/{response_id}?stream=true&starting_after={after}") for after in (0, 0, 5, 5))
    )
    first, second, third, fourth = (events_of(stream.text) for stream in streams)
    assert first == second
    assert third == fourth == first[5:]
    assert first[-1]["response"] == await ended(service, response_id)
    assert first[-1]["response"]["output"][0]["content"][0]["text"] == "hello " * 60

    cancelled = await asyncio.gather(*(begun(service, 2000) for _ in range(4)))
    await asyncio.sleep(0.5)
    for response_id in cancelled:
        assert (await ask(service, "POST", f"{PATH}/{response_id}/cancel")).json()["status"] == "cancelled"
    async with asyncio.timeout(5):
        while (await ask(service, "GET", "/v1/models/slow")).json()["running"]:
            await asyncio.sleep(0.1)


async def test_responses_of_a_killed_replica_are_run_by_the_other(service: Launched) -> None:
    unseen = await asyncio.gather(*(begun(service, 150) for _ in range(8)))
    await asyncio.sleep(1)
    os.kill(replicas(service, "Ingress")[0], signal.SIGKILL)
    for response_id in unseen:
        found = await ended(service, response_id)
        assert (found["status"], found["error"]) == ("incomplete", None)
        assert found["output"][0]["content"][0]["text"] == "hello " * 150
