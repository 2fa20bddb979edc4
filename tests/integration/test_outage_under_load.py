"""What clients see, and what is kept, while Postgres is away under load (`CHATLLM_TEST_OUTAGE_S`, 3 s)."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.config import HistorySettings, ScriptedModel
from deployments.local.servers.postgres import PostgresServer
from deployments.local.state import StateFolder
from tests.integration.serving import Served, served
from tests.integration.test_outages import signal_all

OUTAGE_S = float(os.environ.get("CHATLLM_TEST_OUTAGE_S", "3"))
PATH = "/v1/chat/completions"
NO_REDIS = "redis://127.0.0.1:1/0"
MODELS = (
    ScriptedModel(id="quick", kind="scripted", tokens=8),
    ScriptedModel(id="slow", kind="scripted", tokens=60, token_ms=OUTAGE_S * 1e3 / 100),
)

pytestmark = [pytest.mark.alone, pytest.mark.timeout(120 + 3 * OUTAGE_S)]


@pytest.fixture(scope="module")
def server(new_folder: Callable[[], Path]) -> Generator[PostgresServer]:
    server = PostgresServer(StateFolder.open(new_folder()))
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def away(server: PostgresServer, how: str) -> AsyncGenerator[None]:
    """Freeze Postgres or stop it, for the time inside."""
    if how == "frozen":
        signal_all(server, signal.SIGSTOP)
    else:
        await asyncio.to_thread(server.stop)
    try:
        yield
    finally:
        if how == "frozen":
            signal_all(server, signal.SIGCONT)
        else:
            await asyncio.to_thread(server.start)


def body(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def new_conversation(http: httpx.AsyncClient) -> str:
    return (await http.post("/v1/conversations", json={})).json()["id"]


async def streamed(http: httpx.AsyncClient, conversation: str, number: int, has_begun: asyncio.Event) -> str:
    """Return the whole text of a streamed answer; it must end as it should."""
    request = body("slow", f"question {number}", conversation=conversation, stream=True)
    async with http.stream("POST", PATH, json=request) as response:
        has_begun.set()
        assert response.status_code == 200
        lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def load(http: httpx.AsyncClient, is_over: asyncio.Event, request: dict[str, Any]) -> list[httpx.Response]:
    """Ask the same again and again, five at a time."""
    answers: list[httpx.Response] = []

    async def one_after_the_other() -> None:
        while not is_over.is_set():
            answers.append(await http.post(PATH, json=request))
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one_after_the_other() for _ in range(5)))
    return answers


async def items_of(http: httpx.AsyncClient, conversation: str) -> list[tuple[str, str, str]]:
    path = f"/v1/conversations/{conversation}/items?order=asc"
    items = (await http.get(path)).json()["data"]
    return [(item["role"], item["status"], item["content"][0]["text"]) for item in items]


async def until_all_stored(http: httpx.AsyncClient, conversations: list[str]) -> None:
    async with asyncio.timeout(20):
        while [conversation for conversation in conversations if len(await items_of(http, conversation)) < 2]:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["frozen", "stopped"])
async def test_postgres_is_away_under_load(server: PostgresServer, how: str) -> None:
    settings = HistorySettings(timeout_s=1.0)
    async with served(server.url, NO_REDIS, *MODELS, history=settings) as service, service.client() as http:
        begun = [await new_conversation(http) for _ in range(10)]
        refused_in = await new_conversation(http)
        have_begun = [asyncio.Event() for _ in begun]
        streams = [
            asyncio.create_task(streamed(http, name, number, have_begun[number])) for number, name in enumerate(begun)
        ]
        for has_begun in have_begun:
            await has_begun.wait()
        is_over = asyncio.Event()

        async with away(server, how):
            stateless = asyncio.create_task(load(http, is_over, body("quick", "stateless")))
            kept = asyncio.create_task(load(http, is_over, body("quick", "kept", store=True)))
            stateful = asyncio.create_task(load(http, is_over, body("quick", "stateful", conversation=refused_in)))
            await asyncio.sleep(OUTAGE_S)
            is_over.set()
            answers = await asyncio.gather(stateless, kept, stateful)
            texts = await asyncio.gather(*streams)

        assert {answer.status_code for answer in answers[0]} == {200}
        assert len(answers[0]) > OUTAGE_S * 10
        assert {answer.status_code for answer in answers[1]} == {200}
        for answer in answers[2]:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "history_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        await until_all_stored(http, begun)
        for number, (name, text) in enumerate(zip(begun, texts, strict=True)):
            question = ("user", "completed", f"question {number}")
            assert await items_of(http, name) == [question, ("assistant", "completed", text)]
        assert await items_of(http, refused_in) == []
        await _all_kept(service, [answer.json()["id"] for answer in answers[1]])


async def _all_kept(service: Served, ids: list[str]) -> None:
    """Wait until exactly these completions are stored, each once."""
    async with service.client() as http, asyncio.timeout(20):
        found: Counter[str] = Counter()
        while found.total() < len(ids):
            found.clear()
            after: dict[str, str] = {}
            while True:
                page = (await http.get(PATH, params={"limit": "100", **after})).json()
                found.update(completion["id"] for completion in page["data"])
                if not page["has_more"]:
                    break
                after = {"after": page["last_id"]}
        assert found == Counter(ids)
