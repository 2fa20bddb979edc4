"""A provider's model on a real cluster; the provider is the same cluster, by its own HTTP port."""

import asyncio
import json
import os
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.asgi_server import served_aside
from tests.launched import Launched, free_ports, launched, service_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"
SECRET = "sk-provider-1f0e3dad99908345f7439f8ffabdffc4"


class Gateway:
    """Passes requests that carry the secret on to the service, with a key that exists only once it has started."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.service: Launched | None = None
        self.refuses = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if self.refuses:
            await Response("{}", 429, {"retry-after": "7"})(scope, receive, send)
            return
        assert self.service and request.headers["authorization"] == f"Bearer {SECRET}"
        async with self.service.client() as http:
            asked = http.build_request("POST", PATH, content=await request.body())
            answer = await http.send(asked, stream=True)
            try:
                relayed = StreamingResponse(answer.aiter_raw(), answer.status_code, media_type="text/event-stream")
                await relayed(scope, receive, send)
            finally:
                await answer.aclose()


@pytest.fixture(scope="module")
def gateway() -> Generator[Gateway]:
    gateway = Gateway()
    with served_aside(gateway, gateway.port, lifespan="off"):
        yield gateway


@pytest.fixture(scope="module")
def service(gateway: Gateway) -> Generator[Launched]:
    """`near` and `near-slow` are `far` and `slow` of the same cluster; `keyless` can never answer for itself."""
    there = {"kind": "provider", "base_url": f"http://127.0.0.1:{gateway.port}/v1", "api_key_env": "TEST_PROVIDER_KEY"}
    models: list[dict[str, Any]] = [
        {"id": "far", "kind": "scripted", "tokens": 8},
        {"id": "slow", "kind": "scripted", "tokens": 2000, "token_ms": 20},
        {**there, "id": "near", "model": "openai:far", "fallback": ["far"]},
        {**there, "id": "near-slow", "model": "openai:slow"},
        {**there, "id": "keyless", "model": "openai:far", "api_key_env": "NOT_SET_ANYWHERE", "fallback": ["far"]},
    ]
    os.environ["TEST_PROVIDER_KEY"] = SECRET
    try:
        with launched(service_file(models, {"Ingress": 1})) as running:
            gateway.service = running
            yield running
    finally:
        del os.environ["TEST_PROVIDER_KEY"]


def body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello there"}], **more}


async def ready(http: httpx.AsyncClient, *models: str) -> None:
    async with asyncio.timeout(120):
        while True:
            shown = {m["id"]: m["status"] for m in (await http.get("/v1/models")).json()["data"]}
            if all(shown[model] == "ready" for model in models):
                return
            await asyncio.sleep(0.5)


async def test_a_providers_model_serves_beside_the_others(service: Launched, gateway: Gateway) -> None:
    async with service.client() as http:
        await ready(http, "near", "near-slow")
        plain = await http.post(PATH, json=body("near", temperature=0))
        text = plain.json()["choices"][0]["message"]["content"]
        assert (plain.headers["x-chatllm-model"], plain.json()["usage"]["completion_tokens"]) == ("near", 8)
        streamed = await http.post(PATH, json=body("near", stream=True))
        events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
        assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events) == text
        async with asyncio.timeout(5):
            while (await http.post(PATH, json=body("near", temperature=0))).headers["x-cache"] != "HIT":
                await asyncio.sleep(0.05)

        gateway.refuses = True
        busy = await http.post(PATH, json=body("near-slow"))
        assert (busy.status_code, busy.json()["error"]["code"]) == (429, "provider_busy")
        assert busy.headers["retry-after"] == "7"
        other = await http.post(PATH, json=body("near"))
        assert (other.status_code, other.headers["x-chatllm-model"]) == (200, "far")
        gateway.refuses = False


async def test_a_client_that_leaves_ends_the_request_to_the_provider(service: Launched) -> None:
    async with service.client() as http:
        await ready(http, "near-slow")
        async with http.stream("POST", PATH, json=body("near-slow", stream=True)) as response:
            await anext(response.aiter_lines())
            assert (await http.get("/v1/models/slow")).json()["running"] == 1
        left = time.monotonic()
        while any(running := [(await http.get(f"/v1/models/{m}")).json()["running"] for m in ("near-slow", "slow")]):
            assert time.monotonic() - left < 20, running
            await asyncio.sleep(0.1)


async def test_a_model_without_its_key_is_answered_for_and_no_key_is_logged(service: Launched) -> None:
    async with service.client() as http:
        answer = await http.post(PATH, json=body("keyless"))
        assert (answer.status_code, answer.headers["x-chatllm-model"]) == (200, "far")
        async with asyncio.timeout(120):
            while (await http.get("/v1/models/keyless")).json()["status"] != "failed":
                await asyncio.sleep(0.5)
        again = await http.post(PATH, json=body("keyless"))
        assert again.headers["x-chatllm-model"] == "far"
    files = [file for file in (service.folder / "state").rglob("*.log") if file.is_file()]
    assert files and not any(SECRET.encode() in file.read_bytes() for file in files)
