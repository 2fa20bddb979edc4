"""An ingress replica that Serve is about to kill: what its clients still read ends with an error that says so."""

import asyncio
import time
from collections.abc import AsyncGenerator

import orjson
import pytest

from deployments.api import leaving
from deployments.api.http.connection import Connection
from deployments.api.http.intake import Intake
from deployments.api.leaving import REPLACED, interrupt
from deployments.config import ScriptedModel
from tests.unit.api.conftest import Service, running

CHAT = "/v1/chat/completions"
ASKED = {"model": "slow", "messages": [{"role": "user", "content": "hello world"}]}


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with running(ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=20)) as service:
        yield service


async def test_a_stream_ends_with_an_error_event_and_its_body_is_whole(service: Service) -> None:
    async with service.http.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
        lines = response.aiter_lines()
        while "hello" not in await anext(lines):
            pass
        interrupt()
        rest = [line async for line in lines if line]  # raises where the body is cut
    error = orjson.loads(rest[-1].removeprefix("data: "))["error"]
    assert (error["code"], error["type"], error["message"]) == ("unavailable", "server_error", REPLACED)
    assert "[DONE]" not in "".join(rest)
    assert not Connection.opened


async def test_an_answer_that_is_waited_for_is_a_503(service: Service) -> None:
    asking = asyncio.create_task(service.http.post(CHAT, json=ASKED))
    await asyncio.sleep(0.2)
    interrupt()
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert not Connection.opened


async def test_the_conversation_has_what_was_said(service: Service) -> None:
    conversation = (await service.http.post("/v1/conversations", json={})).json()["id"]
    body = {**ASKED, "stream": True, "conversation": conversation}
    async with service.http.stream("POST", CHAT, json=body) as response:
        lines = response.aiter_lines()
        while "hello" not in await anext(lines):
            pass
        interrupt()
        assert "error" in [line async for line in lines if line][-1]
    async with asyncio.timeout(5):
        while len(items := (await service.http.get(f"/v1/conversations/{conversation}/items")).json()["data"]) < 2:
            await asyncio.sleep(0.05)
    said = next(item for item in items if item["role"] == "assistant")
    assert said["status"] == "incomplete" and said["content"][0]["text"].startswith("hello")


@pytest.mark.parametrize("stops_at", [None, 0.0], ids=["Serve replaces it", "all is stopped meanwhile"])
async def test_a_replica_that_serve_stops_ends_its_streams_before_it_is_killed(
    service: Service, monkeypatch: pytest.MonkeyPatch, stops_at: float | None
) -> None:
    monkeypatch.setattr(leaving, "_stops_at", lambda: stops_at)
    async with service.http.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
        lines = response.aiter_lines()
        await anext(lines)
        began, intake = time.monotonic(), Intake()
        leaving.retire(None, intake, 1.0 if stops_at is None else 600)
        rest = [line async for line in lines if line]
    took_s = time.monotonic() - began
    assert "error" in rest[-1]
    assert 0.4 < took_s < 1.0 if stops_at is None else took_s < 1.0
    assert intake.ending is not None
    intake.ending.cancel()
