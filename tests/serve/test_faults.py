"""Parts are killed or frozen under the running service; what is promised then, holds."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.launched import Launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"
HELLO = {"model": "quick", "messages": [{"role": "user", "content": "hello world"}]}


def replicas(service: Launched, deployment: str) -> list[int]:
    """Return the process ids of a deployment's replicas in this service's own cluster."""
    state = service.environment["CHATLLM_STATE"]
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"ServeReplica:chatllm:{deployment}" in " ".join(process.cmdline()):
                found += [process.pid] * (process.environ().get("CHATLLM_STATE") == state)
    return found


def store(service: Launched, data: str) -> list[int]:
    """Return the process ids of the embedded server that keeps its data in `data`: all of them work in that folder."""
    folder = str(Path(service.environment["CHATLLM_STATE"]) / data)
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process.pid] * (process.cwd() == folder)
    return found


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_killed_model_replica_costs_at_most_the_requests_on_it(service: Launched) -> None:
    before = replicas(service, "model-quick")
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    async with service.client() as http:
        statuses = [(await http.post(PATH, json=HELLO)).status_code for _ in range(40)]
        async with asyncio.timeout(60):
            while len(replicas(service, "model-quick")) < 2:
                await asyncio.sleep(0.5)
        assert (await http.post(PATH, json=HELLO)).status_code == 200
    assert statuses.count(200) >= 38
    assert set(statuses) <= {200, 503}


async def test_a_killed_ingress_replica_comes_back_and_the_other_answers(service: Launched) -> None:
    os.kill(replicas(service, "Ingress")[0], signal.SIGKILL)
    async with asyncio.timeout(60):
        while len(replicas(service, "Ingress")) < 2:
            await asyncio.sleep(0.5)
    answers: list[int] = []
    for _ in range(20):
        async with service.client() as http:
            answers.append((await http.post(PATH, json=HELLO)).status_code)
    assert answers[-10:] == [200] * 10


async def test_a_frozen_redis_is_a_miss_in_time(service: Launched) -> None:
    async with service.client() as http:
        with frozen(store(service, "valkey")):
            for seed in range(10):
                began = time.perf_counter()
                response = await http.post(PATH, json={**HELLO, "seed": seed})
                assert (response.status_code, response.headers["x-cache"]) == (200, "MISS")
                assert time.perf_counter() - began < 1.0
        async with asyncio.timeout(20):
            while (await http.post(PATH, json={**HELLO, "seed": 99})).headers["x-cache"] != "HIT":
                await asyncio.sleep(0.2)


async def test_a_frozen_postgres_stops_only_conversations(service: Launched) -> None:
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        assert (await http.post(PATH, json=HELLO)).status_code == 200
        with frozen(store(service, "postgres/data")):
            for _ in range(5):
                assert (await http.post(PATH, json=HELLO)).status_code == 200
            refused = await http.post(PATH, json={**HELLO, "conversation": conversation})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "history_unavailable"
            assert int(refused.headers["retry-after"]) >= 1
        async with asyncio.timeout(20):
            while (await http.post(PATH, json={**HELLO, "conversation": conversation})).status_code != 200:
                await asyncio.sleep(0.2)


async def test_an_answer_that_outlasts_postgres_is_written_afterwards(service: Launched) -> None:
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        request: dict[str, Any] = {
            "model": "slow",
            "messages": [{"role": "user", "content": "remember this"}],
            "max_tokens": 50,
            "conversation": conversation,
        }
        answering = asyncio.create_task(http.post(PATH, json=request))
        await asyncio.sleep(0.3)
        with frozen(store(service, "postgres/data")):
            answer = await answering
            assert answer.status_code == 200
            await asyncio.sleep(1)
        async with asyncio.timeout(30):
            while True:
                page = await http.get(f"/v1/conversations/{conversation}/items?order=asc")
                items = page.json().get("data", [])
                if len(items) >= 2:
                    break
                await asyncio.sleep(0.2)
        assert [item["role"] for item in items] == ["user", "assistant"]
        assert items[1]["content"][0]["text"] == answer.json()["choices"][0]["message"]["content"]
