"""A vLLM engine that is killed or frozen, and a replica that is frozen, cost a pause: the answers go on."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from tests.launched import GUIDE, Launched, launched, replica_pids

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"
FOUND_S = 15.0
"""After so long what is frozen has left the rotation."""
ANSWERS, TOKENS = 4, 600


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    with launched(GUIDE) as running:
        yield running


@pytest_asyncio.fixture
async def http(service: Launched) -> AsyncGenerator[httpx.AsyncClient]:
    async with service.client() as http:
        http.timeout = httpx.Timeout(180)
        yield http


def replica_of(service: Launched) -> int:
    [pid] = replica_pids(service, "model-guide")
    return pid


def engine_of(replica: int) -> int:
    """Return the engine's process under a replica."""
    found = [one.pid for one in psutil.Process(replica).children(recursive=True) if "EngineCore" in one.name()]
    assert len(found) == 1, [one.cmdline() for one in psutil.Process(replica).children(recursive=True)]
    return found[0]


@dataclass
class Answer:
    """A stream, as its client reads it."""

    number: int
    texts: list[str] = field(default_factory=list[str])
    error: dict[str, Any] | None = None
    usage: dict[str, Any] = field(default_factory=dict[str, Any])

    async def read(self, http: httpx.AsyncClient) -> None:
        body = {
            "model": "guide",
            "messages": [{"role": "user", "content": f"Question {self.number}: what does the cache do?"}],
            "max_tokens": TOKENS,
            "min_tokens": TOKENS,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with http.stream("POST", PATH, json=body, headers={"cache-control": "no-store"}) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    self.error = event.get("error") or self.error
                    self.usage = event.get("usage") or self.usage
                    self.texts += [one["delta"].get("content") or "" for one in event.get("choices", ())]


async def answered(http: httpx.AsyncClient) -> list[Answer]:
    """Return the answers of a run that nobody disturbs."""
    answers = [Answer(number) for number in range(ANSWERS)]
    await asyncio.gather(*(answer.read(http) for answer in answers))
    return answers


async def gone(pid: int, within_s: float) -> float:
    """Return how long it took until a process was gone."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            while process.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("part", "how", "found_s"),
    [("engine", signal.SIGKILL, 5.0), ("engine", signal.SIGSTOP, FOUND_S), ("replica", signal.SIGSTOP, FOUND_S)],
)
async def test_streams_go_on_as_if_undisturbed(
    service: Launched, http: httpx.AsyncClient, part: str, how: signal.Signals, found_s: float
) -> None:
    undisturbed = await answered(http)
    replica = replica_of(service)
    engine = engine_of(replica)
    answers = [Answer(number) for number in range(ANSWERS)]
    reading = [asyncio.create_task(answer.read(http)) for answer in answers]
    async with asyncio.timeout(60):
        while not all(len(answer.texts) > 20 for answer in answers):
            await asyncio.sleep(0.01)
    assert not any(answer.usage for answer in answers), "an answer was complete too early"
    os.kill(engine if part == "engine" else replica, how)
    await gone(replica, found_s)
    await gone(engine, 12.0)  # its memory is needed by the next one
    await asyncio.gather(*reading)
    for answer, expected in zip(answers, undisturbed, strict=True):
        assert answer.error is None
        assert "".join(answer.texts) == "".join(expected.texts)
        assert answer.usage == expected.usage
    assert replica_of(service) != replica


async def test_an_idle_engine_that_is_frozen_is_replaced(service: Launched, http: httpx.AsyncClient) -> None:
    await answered(http)
    replica = replica_of(service)
    os.kill(engine_of(replica), signal.SIGSTOP)
    await gone(replica, FOUND_S)
    async with asyncio.timeout(10):  # the next one takes longer to load
        while (await http.get("/ready")).status_code == 200:
            await asyncio.sleep(0.1)
    assert (await http.get("/health")).status_code == 200
    answer = Answer(0)
    await answer.read(http)
    assert answer.error is None
    assert "".join(answer.texts)
    assert replica_of(service) != replica
