"""The whole service stops: new requests are refused, and those under way are counted until they have ended."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.api.http.intake import Intake, IntakeControl
from deployments.api.http.middleware import RequestId
from tests.asgi_server import served


class Slow:
    """Answers once it is told to."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/health"):
            await self.may_end.wait()
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": b"said"})


@pytest.fixture
def intake() -> Intake:
    return Intake()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
async def http(intake: Intake, slow: Slow) -> AsyncGenerator[httpx.AsyncClient]:
    app = RequestId(IntakeControl(slow, intake), is_echoed=False)
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


async def test_what_runs_ends_and_what_is_new_is_refused(http: httpx.AsyncClient, intake: Intake, slow: Slow) -> None:
    asking = asyncio.create_task(http.post("/v1/chat/completions", json={}))
    async with asyncio.timeout(5):
        while intake.running != 1:
            await asyncio.sleep(0.01)
    intake.is_closed = True
    for path in ("/v1/chat/completions", "/v1/models", "/ready"):
        refused = await http.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
        assert refused.json()["error"]["code"] == "unavailable"
    anthropic = (await http.post("/v1/messages", json={})).json()
    assert anthropic["type"] == "error"
    assert (await http.get("/health")).status_code == 200
    idle = asyncio.create_task(intake.idle())
    await asyncio.sleep(0.02)
    assert not idle.done() and intake.running == 1
    slow.may_end.set()
    assert (await asking).content == b"said"
    await asyncio.wait_for(idle, 1)


async def test_who_comes_back_to_a_stream_is_let_in(http: httpx.AsyncClient, intake: Intake, slow: Slow) -> None:
    intake.is_closed = True
    slow.may_end.set()
    assert (await http.get("/v1/streams/stream_1")).status_code == 200
    assert (await http.delete("/v1/streams/stream_1")).status_code == 503
    assert intake.running == 0
