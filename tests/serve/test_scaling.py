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
from tests.serve.redeployed import until

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
INGRESS_REQUESTS = 40
INGRESS_SCALING = {**SCALING, "min_replicas": 1, "max_replicas": 2}
WAIT_S = 120


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The service; a replica of `scaled` has four slots, and there is none while nobody asks."""
    # Unless it is set, a key may use half of the slots of the smallest engine.
    limits = {"max_concurrent_requests": INGRESS_REQUESTS}
    file = service_file(MODELS, {}, key_limits={"concurrent_requests": 0, "timeout_s": 2}, limits=limits)
    for one in file["applications"][0]["deployments"]:
        if one["name"] in ("model-scaled", "Ingress"):
            del one["num_replicas"]
            one["autoscaling_config"] = SCALING if one["name"] == "model-scaled" else INGRESS_SCALING
    with launched(file) as running:
        yield running


async def metrics(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/v1/admin/metrics")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def becomes(http: httpx.AsyncClient, replicas: int) -> None:
    async def are_there() -> bool:
        models = (await metrics(http))["models"]
        return next(each["replicas"] for each in models if each["id"] == "scaled") == replicas

    await until(are_there, WAIT_S)


async def waits_in_the_queue(http: httpx.AsyncClient) -> None:
    """Return once operators are told that requests wait in front of the engines."""

    async def is_told() -> bool:
        models = (await metrics(http))["models"]
        queues = next(each["queues"] for each in models if each["id"] == "scaled")
        return queues.get("interactive", {}).get("requests", 0) > 0 and queues["interactive"]["oldest_s"] > 0

    await until(is_told, WAIT_S)


async def decisions_about(http: httpx.AsyncClient, deployment: str) -> list[dict[str, Any]]:
    """Return the decisions about one deployment, the newest first."""
    return [made for made in (await metrics(http))["decisions"] if made["model"] == deployment]


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
            await waits_in_the_queue(http)
            await becomes(http, 3)
        finally:
            stop.set()
        assert set(await asked) == {200}
        await becomes(http, 0)
        async with asyncio.timeout(WAIT_S):
            while (decisions := await decisions_about(http, "scaled"))[0]["after"] != 0:
                await asyncio.sleep(0.3)
    oldest_first = decisions[::-1]
    assert [made["after"] for made in oldest_first[:-1]] == [made["before"] for made in oldest_first[1:]]
    assert (oldest_first[0]["before"], oldest_first[0]["cause"]) == (0, "held")
    up = [made for made in oldest_first[1:] if made["after"] > made["before"]]
    down = [made for made in oldest_first if made["after"] < made["before"]]
    assert up and all(re.search(rf"\d+ of ({SLOTS}|{2 * SLOTS}) running", made["reason"]) for made in up)
    assert any("waiting" in made["reason"] for made in up)
    assert down and {made["cause"] for made in down} == {"idle"}
    assert [made["at"] for made in oldest_first] == sorted(made["at"] for made in oldest_first)


async def test_the_ingress_follows_its_open_requests(service: Launched) -> None:
    key = await asyncio.to_thread(service.chatllm, "keys", "create", "ingress", "--admin")
    async with service.client() as http, service.client() as ops:
        ops.headers["authorization"] = f"Bearer {key.strip()}"
        http.timeout = ops.timeout = httpx.Timeout(WAIT_S)

        async def has(after: int) -> bool:
            answer = await ops.get("/v1/admin/metrics")  # which may be one request too many
            made = answer.json()["decisions"] if answer.status_code == 200 else []
            about = [one for one in made if one["model"] == "Ingress"]
            return bool(about) and about[0]["after"] == after and answer.json()["replicas_seen"] == after

        stop = asyncio.Event()
        asked = asyncio.create_task(load(http, stop, INGRESS_REQUESTS - 6))
        try:
            await until(lambda: has(2), WAIT_S)
        finally:
            stop.set()
        assert set(await asked) == {200}
        await until(lambda: has(1), WAIT_S)
        up = [made for made in await decisions_about(ops, "Ingress") if made["after"] == 2]
    assert any(re.search(rf"\d+ of {INGRESS_REQUESTS} running", made["reason"]) for made in up), up
