"""Our policy in Serve's own controller: replicas follow the load, from zero and back, with a reason each time."""

import asyncio
import re
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from deployments.models.scaling import AUTOSCALER
from tests.launched import Launched, launched, service_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLOTS = 4
SCALING = {
    "min_replicas": 0,
    "max_replicas": 3,
    "upscale_delay_s": 1,
    "downscale_delay_s": 3,
    "look_back_period_s": 3,
    "metrics_interval_s": 0.5,
    "policy": {"policy_function": AUTOSCALER},
}
MODELS: list[dict[str, Any]] = [
    {"id": "quick", "kind": "scripted", "tokens": 4},
    {"id": "scaled", "kind": "scripted", "tokens": 20, "token_ms": 50, "slots": SLOTS},
]
WAIT_S = 120


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The service; a replica of `scaled` has four slots, and there is none while nobody asks."""
    # Unless it is set, a key may use half of the slots of the smallest engine.
    file = service_file(MODELS, {}, key_limits={"concurrent_requests": 0, "timeout_s": 2})
    scaled = next(one for one in file["applications"][0]["deployments"] if one["name"] == "model-scaled")
    del scaled["num_replicas"]
    scaled["autoscaling_config"] = SCALING
    with launched(file) as running:
        yield running


async def metrics(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/v1/admin/metrics")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def becomes(http: httpx.AsyncClient, replicas: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            models = (await metrics(http))["models"]
            if next(each["replicas"] for each in models if each["id"] == "scaled") == replicas:
                return
            await asyncio.sleep(0.3)


async def load(http: httpx.AsyncClient, stop: asyncio.Event, users: int) -> list[int]:
    """Ask for one answer after the other, `users` at a time, until told to stop; return the statuses."""

    async def user(number: int) -> list[int]:
        statuses: list[int] = []
        while not stop.is_set():
            text = f"question {number} at {time.monotonic()}"
            body = {"model": "scaled", "messages": [{"role": "user", "content": text}]}
            statuses.append((await http.post("/v1/chat/completions", json=body)).status_code)
        return statuses

    return [status for found in await asyncio.gather(*map(user, range(users))) for status in found]


async def test_replicas_follow_the_load_and_every_change_has_its_reason(service: Launched) -> None:
    key = await asyncio.to_thread(service.chatllm, "keys", "create", "ops", "--admin")
    async with service.client() as http:
        http.headers["authorization"] = f"Bearer {key.strip()}"
        http.timeout = httpx.Timeout(WAIT_S)
        await becomes(http, 0)
        stop = asyncio.Event()
        asked = asyncio.create_task(load(http, stop, 4 * SLOTS))
        try:
            await becomes(http, 3)
        finally:
            stop.set()
        assert set(await asked) == {200}
        await becomes(http, 0)
        async with asyncio.timeout(WAIT_S):
            while (decisions := (await metrics(http))["decisions"])[0]["after"] != 0:
                await asyncio.sleep(0.3)
    oldest_first = decisions[::-1]
    assert {made["model"] for made in decisions} == {"scaled"}
    assert [made["after"] for made in oldest_first[:-1]] == [made["before"] for made in oldest_first[1:]]
    assert (oldest_first[0]["before"], oldest_first[0]["cause"]) == (0, "held")
    up = [made for made in oldest_first[1:] if made["after"] > made["before"]]
    down = [made for made in oldest_first if made["after"] < made["before"]]
    assert up and all(re.search(rf"\d+ of ({SLOTS}|{2 * SLOTS}) running", made["reason"]) for made in up)
    assert any("waiting" in made["reason"] for made in up)
    assert down and {made["cause"] for made in down} == {"idle"}
    assert [made["at"] for made in oldest_first] == sorted(made["at"] for made in oldest_first)
