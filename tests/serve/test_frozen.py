"""Replicas are frozen under the running service: each is found within 15 s, ended and replaced, and costs a pause."""

import asyncio
import os
import signal
import time

import httpx
import psutil
import pytest

from tests.launched import Launched
from tests.serve.test_faults import HELLO, PATH, TOKENS, Continued, ingress_urls, replicas
from tests.serve.test_replicas import begun, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FOUND_S = 15.0


async def freeze(pid: int) -> float:
    """Freeze a process, and return how long it took until somebody ended it; TimeoutError after 15 s."""
    began = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(FOUND_S):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def replaced(service: Launched, deployment: str, count: int, frozen: int) -> None:
    async with asyncio.timeout(60):
        while len(found := replicas(service, deployment)) < count or frozen in found:
            await asyncio.sleep(0.5)


async def test_requests_beside_a_frozen_model_replica_are_answered_by_the_other(service: Launched) -> None:
    frozen, _ = replicas(service, "model-quick")
    finding = asyncio.create_task(freeze(frozen))
    async with service.client() as http:
        asked = [http.post(PATH, json=HELLO, headers={"cache-control": "no-store"}) for _ in range(20)]
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        await finding
        assert (await http.get("/health")).status_code == 200
        statuses += [(await http.post(PATH, json=HELLO)).status_code for _ in range(20)]
    assert statuses == [200] * 40
    await replaced(service, "model-quick", 2, frozen)


async def test_streams_and_whole_answers_go_on_when_their_only_model_replica_is_frozen(service: Launched) -> None:
    async with service.client() as http:
        http.timeout = httpx.Timeout(120)
        answers = [Continued(http, f"number {number} goes on", stream=number % 3 > 0) for number in range(9)]
        reading = [asyncio.create_task(answer.read()) for answer in answers]
        async with asyncio.timeout(30):
            while not all(answer.tokens > 5 for answer in answers if answer.stream):
                await asyncio.sleep(0.05)
        [before] = replicas(service, "model-slow")
        finding = asyncio.create_task(freeze(before))
        later = Continued(http, "the next request", stream=True)
        await asyncio.gather(finding, later.read(), *reading)
        for answer in [*answers, later]:
            assert answer.said == f"{answer.text} " * (TOKENS // len(answer.text.split())) + answer.rest
            assert answer.usage["completion_tokens"] == TOKENS
            page = await http.get(f"/v1/conversations/{answer.conversation}/items?order=asc")
            assert [item["role"] for item in page.json()["data"]] == ["user", "assistant"]


async def test_responses_of_a_frozen_ingress_replica_are_run_by_the_other(service: Launched) -> None:
    frozen = next(iter((await ingress_urls(service)).values()))
    ids = [await begun(service, 200) for _ in range(6)]
    await freeze(frozen)
    for found in [await ended(service, one) for one in ids]:
        assert (found["status"], found["error"]) == ("incomplete", None)
        assert found["output"][0]["content"][0]["text"] == "hello " * 200
    async with service.client() as http:
        assert [(await http.post(PATH, json=HELLO)).status_code for _ in range(20)] == [200] * 20
    await replaced(service, "Ingress", 2, frozen)
