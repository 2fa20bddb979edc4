"""HTTP's words for the cache at `/v1/responses`: waited for, streamed, and in the background."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.unit.api.conftest import Service

PATH = "/v1/responses"


async def ask(service: Service, control: str = "", text: str = "hello world", **more: Any) -> httpx.Response:
    body = {"model": "quick", "input": text, "temperature": 0, **more}
    return await service.http.post(PATH, json=body, headers={"cache-control": control})


async def result(service: Service, control: str = "", **more: Any) -> str:
    response = await ask(service, control, **more)
    assert response.status_code == 200, response.text
    return response.headers["x-cache"]


async def background(service: Service, control: str = "", **more: Any) -> dict[str, Any]:
    """Return a response that was made in the background, once it has ended."""
    begun = await ask(service, control, background=True, **more)
    assert begun.headers["x-cache-reason"].endswith("in the background")
    async with asyncio.timeout(5):
        while True:
            found = (await service.http.get(f"{PATH}/{begun.json()['id']}")).json()
            if found["status"] not in ("queued", "in_progress"):
                return found
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_words_hold_for_who_waits(service: Service, stream: bool) -> None:
    assert await result(service, "no-store", stream=stream) == "BYPASS"
    refused = await ask(service, "only-if-cached", stream=stream)
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
    assert await result(service, stream=stream) == "MISS"
    assert await result(service, "only-if-cached", stream=not stream) == "HIT"
    assert await result(service, "no-cache", stream=stream) == "BYPASS"
    assert await result(service, "max-age=0", stream=stream) == "MISS"
    sampled = {"stream": stream, "temperature": 1}
    assert [await result(service, "max-age=60", **sampled) for _ in range(2)] == ["MISS", "HIT"]
    assert await result(service, **sampled) == "BYPASS"


async def test_a_chat_and_a_response_share_an_answer(service: Service) -> None:
    chat = {"model": "quick", "messages": [{"role": "user", "content": "hello world"}], "temperature": 0}
    assert (await service.http.post("/v1/chat/completions", json=chat)).headers["x-cache"] == "MISS"
    assert await result(service, "only-if-cached") == "HIT"


async def test_the_words_hold_in_the_background(service: Service) -> None:
    def hits() -> int:
        return service.cache.hits

    assert (await background(service, "no-store"))["status"] == "completed"
    refused = await background(service, "only-if-cached")
    assert (refused["status"], refused["output"]) == ("failed", [])
    assert "nothing is stored" in refused["error"]["message"]
    assert (await background(service))["status"] == "completed"
    assert hits() == 0
    assert (await background(service, "only-if-cached"))["status"] == "completed"
    assert hits() == 1
    await background(service, "no-cache")
    await background(service, "no-store")
    assert hits() == 1
    await background(service, "max-age=60")
    assert hits() == 2


async def test_what_the_header_said_is_no_parameter(service: Service) -> None:
    refused = await ask(service, cache_control="no-store")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "cache_control")
    assert "cache_control" not in (await background(service, "no-store"))
