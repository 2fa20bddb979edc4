"""A stream that has nothing to send says so: before its first event, between events, in both dialects."""

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest
from starlette.types import Message

from deployments.api.http.keep_alive import COMMENT, KeepAlive
from deployments.config import ScriptedModel, Timeouts
from tests.unit.api.conftest import Service, running

PATH = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "stream": True}
PREFILL = ScriptedModel(id="prefill", kind="scripted", prefill_ms=1500)
PAUSES = ScriptedModel(id="pauses", kind="scripted", token_ms=300)
BREAKS = ScriptedModel(id="breaks", kind="scripted", prefill_ms=400, fail_after=0)


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with running(PREFILL, PAUSES, BREAKS, timeouts=Timeouts(silence_s=0.1)) as started:
        yield started


async def test_a_long_prefill_is_not_silent(service: Service) -> None:
    loop = asyncio.get_running_loop()
    began, times, data = loop.time(), list[float](), b""
    async with service.http.stream("POST", PATH, json={"model": "prefill", **QUESTION}) as response:
        assert (response.status_code, response.headers["x-cache"]) == (200, "BYPASS")
        assert loop.time() - began < 1
        async for piece in response.aiter_raw():
            times.append(loop.time())
            data += piece
    assert data.startswith(COMMENT * 3) and data.endswith(b"data: [DONE]\n\n")
    assert max(later - earlier for earlier, later in pairwise(times)) < 1


@pytest.mark.parametrize(
    ("path", "ping"), [(PATH, COMMENT), ("/v1/messages", b'event: ping\ndata: {"type":"ping"}\n\n')]
)
async def test_between_events_there_are_pings_of_the_apis_own(service: Service, path: str, ping: bytes) -> None:
    async with service.http.stream("POST", path, json={"model": "pauses", **QUESTION}) as response:
        data = await response.aread()
    first = data.index(b"data: {")
    assert ping not in data[:first] or path == PATH
    assert data[first:].count(ping) >= 3


async def test_what_fails_after_a_long_prefill_ends_in_an_error_event(service: Service) -> None:
    answer = await service.http.post(PATH, json={"model": "breaks", **QUESTION})
    assert answer.status_code == 200
    assert answer.content.startswith(COMMENT) and b'"internal_error"' in answer.content


async def test_a_client_that_does_not_read_is_sent_no_pings_and_the_timer_ends() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        await asyncio.Event().wait()

    alive = KeepAlive(send, 0.01)
    alive.is_writing = True
    await asyncio.sleep(0.05)
    assert not sent
    alive.is_writing = False
    async with asyncio.timeout(2):
        while not sent:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(sent) == 1, "the first ping has not left yet"
    alive.close()
    await asyncio.sleep(0.03)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "ping"]
