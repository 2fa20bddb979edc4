"""`chatllm down` under load: answers that run may end, what is new is refused, and what was accepted is not lost."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from tests.launched import START_TIMEOUT_S, Launched
from tests.serve.open_loop import CHAT, ENDINGS, OpenLoop, open_loop, scripted
from tests.serve.redeployed import Document, model, service_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOKENS, TOKEN_MS = 150, 20


def service_of_one_model() -> Document:
    document = service_file()
    document["applications"][0]["args"]["responses"] = {"stale_after_s": 3}
    document["applications"][1:] = [model("slow", tokens=10 * TOKENS, token_ms=TOKEN_MS)]
    return document


SERVICE_FILE = service_of_one_model()


async def down(service: Launched, deadline_s: int) -> str:
    return await asyncio.to_thread(service.chatllm, "down", "--deadline", str(deadline_s))


async def up(service: Launched) -> None:
    file = str(service.folder / "service.yaml")
    start = ("up", "--detach", "--wait", "--no-page", "--config", file)
    await asyncio.to_thread(service.chatllm, *start, timeout_s=START_TIMEOUT_S)


async def test_nothing_is_cut_off_refused_without_a_word_or_lost(service: Launched) -> None:
    async with open_loop(service, "slow", TOKENS, every_s=0.3) as load:
        await asyncio.sleep(8)
        load.may_refuse = True
        stopping = asyncio.create_task(down(service, 60))
        async with asyncio.timeout(30):
            while not load.refused:
                await asyncio.sleep(0.05)
        refused_at = time.monotonic()
    told = await stopping
    assert time.monotonic() - refused_at < 45
    assert load.failed == []
    assert "to end, for 60 s at most" in told and told.endswith("Stopped.\n"), told
    for refusal in load.refused:
        error = refusal.json()["error"]
        assert (refusal.status_code, error["code"], refusal.headers["retry-after"]) == (503, "unavailable", "30")
    await up(service)
    await require_kept(service, load)
    began = time.monotonic()
    await cut_short(service)
    assert time.monotonic() - began < 40


async def require_kept(service: Launched, load: OpenLoop) -> None:
    """Require each turn once and each response whole."""
    assert load.kept and load.accepted
    async with service.client() as http, asyncio.timeout(60):
        for conversation, text in load.kept:
            page = (await http.get(f"/v1/conversations/{conversation}/items?order=asc")).json()
            told = [(item["role"], item["content"][0]["text"]) for item in page["data"]]
            assert told == [("user", text), ("assistant", scripted(text, TOKENS))]
        for response_id, text in load.accepted:
            while (response := (await http.get(f"/v1/responses/{response_id}")).json())["status"] not in ENDINGS:
                await asyncio.sleep(0.3)
            load.judge(response, text)


async def cut_short(service: Launched) -> None:
    """Stop within a second: a stream ends with an error event, and its body is whole."""
    streams = [asyncio.create_task(ending(service, number)) for number in range(3)]
    await asyncio.sleep(1.5)
    await down(service, 1)
    for last in await asyncio.gather(*streams):
        assert last["error"]["code"] == "unavailable", last


async def ending(service: Launched, number: int) -> dict[str, Any]:
    """Return the last event of a stream; raises httpx.HTTPError where its body is cut off."""
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": f"number {number}"}]}
    async with service.client() as http:
        http.timeout = httpx.Timeout(60)
        async with http.stream("POST", CHAT, json=body) as response:
            events = [line async for line in response.aiter_lines() if line.startswith("data: ")]
    return json.loads(events[-1].removeprefix("data: "))
