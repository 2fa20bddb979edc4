"""A client that leaves, whenever it does: no error, and the price of what was generated until then."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from itertools import product
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.config import ScriptedModel
from tests.leaving import leave
from tests.unit.api.conftest import Service, running
from tests.unit.api.test_metering import key, used

TOKEN_S = 0.02
SAID = "hello big world"
CHAT = {"model": "slow", "messages": [{"role": "user", "content": SAID}]}
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "slow", "prompt": SAID, "max_tokens": 400},
    "/v1/responses": {"model": "slow", "input": SAID},
    "/v1/messages": {"model": "slow", "messages": [{"role": "user", "content": SAID}], "max_tokens": 400},
}


def cancelling(app: ASGIApp) -> ASGIApp:
    """Do as Ray Serve does: read the connection, and cancel the request's task when its client leaves."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def read() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                messages.put_nowait(message)

        request = asyncio.create_task(app(scope, messages.get, send))  # type: ignore[arg-type]
        reading = asyncio.create_task(read())
        await asyncio.wait((request, reading), return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

    return serve


@pytest.fixture(params=[cancelling, lambda app: app], ids=["Serve", "uvicorn"])
async def service(request: pytest.FixtureRequest) -> AsyncGenerator[Service]:
    slow = ScriptedModel(id="slow", kind="scripted", tokens=500, token_ms=TOKEN_S * 1e3)
    late = ScriptedModel(id="late", kind="scripted", prefill_ms=60_000)
    async with running(slow, late, around=request.param) as service:
        yield service


async def left(service: Service, path: str, body: dict[str, Any], headers: dict[str, str], stays_s: float) -> bytes:
    return await leave(service.url + path, headers["authorization"].removeprefix("Bearer "), body, stays_s)


async def statuses(service: Service) -> dict[int, int]:
    figures = await service.metrics.report(60, 5)
    return dict(figures.report.total.statuses)


async def gone(service: Service, model: str) -> None:
    async with asyncio.timeout(5):
        while await service.models.running(model):
            await asyncio.sleep(0.01)


async def test_who_leaves_pays_for_the_prompt_and_what_was_generated(service: Service) -> None:
    async def used_by(path: str, stream: bool) -> dict[str, int]:
        headers = await key(service)
        await left(service, path, {**PATHS[path], "stream": stream}, headers, stays_s=2.0)
        await gone(service, "slow")
        return await used(service, headers)

    ways = list(product(PATHS, (False, True)))
    for (path, stream), total in zip(ways, await asyncio.gather(*(used_by(*way) for way in ways)), strict=True):
        assert (total["requests"], total["errors"]) == (1, 0), (path, stream)
        assert 10 < total["completion_tokens"] <= 3.0 / TOKEN_S, (path, stream)
        assert total["prompt_tokens"] == 3 or (stream and 3 < total["prompt_tokens"] < 60), (path, stream)
    assert await statuses(service) == {499: 2 * len(PATHS)}


async def test_who_leaves_before_the_first_token_pays_for_the_prompt(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def used_by(path: str, stream: bool) -> dict[str, int]:
        headers = await key(service)
        assert not await left(service, path, {**PATHS[path], "model": "late", "stream": stream}, headers, 1.0)
        await gone(service, "late")
        return await used(service, headers)

    ways = list(product(PATHS, (False, True)))
    with caplog.at_level("INFO"):
        totals = await asyncio.gather(*(used_by(*way) for way in ways))
    for (path, stream), total in zip(ways, totals, strict=True):
        assert (total["requests"], total["errors"], total["completion_tokens"]) == (1, 0, 0), (path, stream)
        assert 3 <= total["prompt_tokens"] < 60, (path, stream)
    assert await statuses(service) == {499: 2 * len(PATHS)}
    assert [record.getMessage() for record in caplog.records if record.levelname not in ("DEBUG", "INFO")] == []
    assert caplog.text.count("status=499") == 2 * len(PATHS)


async def test_the_conversation_before_counts_as_prompt(service: Service) -> None:
    headers = await key(service)
    said = [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "yes"}]
    made = await service.http.post("/v1/conversations", json={"items": said}, headers=headers)
    body = {**CHAT, "model": "late", "stream": True, "conversation": made.json()["id"]}
    await left(service, "/v1/chat/completions", body, headers, 1.0)
    await gone(service, "late")
    assert 400 < (await used(service, headers))["prompt_tokens"] < 800


async def test_who_leaves_while_it_sends_its_body_is_no_error(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    headers = await key(service)
    with caplog.at_level("WARNING"), socket.create_connection(("127.0.0.1", int(service.url[-5:]))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {headers['authorization']}\r\n"
        client.sendall(f"{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{".encode())
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.3)
    assert not caplog.records
    assert (await used(service, headers))["requests"] == 0
