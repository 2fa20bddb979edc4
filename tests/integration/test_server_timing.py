"""`Server-Timing` over real HTTP: its hops add up to what the client saw, of plain answers and of streams."""

import asyncio
import time
from statistics import median

import openai
import pytest

from deployments.config import ScriptedModel
from loadtests.streams import hops_in
from tests.integration.serving import served

pytestmark = pytest.mark.alone

PREFILL_MS, TOKEN_MS, TOKENS = 60, 10, 12
MODEL = ScriptedModel(id="m", kind="scripted", tokens=TOKENS, prefill_ms=PREFILL_MS, token_ms=TOKEN_MS)
REQUESTS = 40
SPENT = {"auth", "body", "admission", "history", "cache", "queue", "prefill", "first-frame", "decode"}


@pytest.fixture
async def service(database_url, valkey_url):
    async with served(database_url, valkey_url, MODEL) as running:
        yield running


def request(number, **more):
    return {"messages": [{"role": "user", "content": f"{number} tell me"}], "temperature": 0, **more}


async def seen(client, body, trailer=True):
    """Return the milliseconds that the client saw, and the hops that the answer tells."""
    began = time.perf_counter()
    headers = {"x-server-timing": "trailer"} if trailer else {}
    response = await client.post("/v1/chat/completions", json=body, headers=headers)
    took_ms = (time.perf_counter() - began) * 1e3
    assert response.status_code == 200
    last = response.text.rstrip("\n").rpartition("\n\n")[2]
    told = last.removeprefix(": server-timing ") if body.get("stream") else response.headers["server-timing"]
    return took_ms, hops_in(told)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_hops_add_up_to_what_the_client_saw(service, stream):
    async with service.client() as client:
        await seen(client, request("first", stream=stream))

        async def one_after_the_other(first):
            return [await seen(client, request(number, stream=stream)) for number in range(first, REQUESTS, 2)]

        first, second = await asyncio.gather(one_after_the_other(0), one_after_the_other(1))
    found = first + second
    for took_ms, hops in found:
        total = hops.pop("total")
        assert sum(hops.values()) == pytest.approx(total, abs=0.1)
        assert hops.keys() >= SPENT
        assert hops["prefill"] >= PREFILL_MS and hops["decode"] >= (TOKENS + 1) * TOKEN_MS
        assert total <= took_ms
    shares = [sum(hops.values()) / took_ms for took_ms, hops in found]
    assert median(shares) >= 0.95
    assert sum(share >= 0.9 for share in shares) > 0.9 * REQUESTS  # the machine may be busy now and then


async def test_a_stream_tells_at_its_start_what_is_known_then_and_nothing_in_its_events(service):
    async with service.client() as client:
        response = await client.post("/v1/chat/completions", json=request(1, stream=True))
    hops = hops_in(response.headers["server-timing"])
    assert hops["first-frame"] >= PREFILL_MS and "decode" not in hops and hops["total"] < TOKENS * TOKEN_MS + PREFILL_MS
    assert response.text.endswith("data: [DONE]\n\n") and "server-timing" not in response.text


async def test_every_answer_tells_its_time(service):
    async with service.client() as client:
        for path, status in (("/v1/models", 200), ("/health", 200), ("/v1/nothing", 404)):
            response = await client.get(path)
            assert (response.status_code, hops_in(response.headers["server-timing"])["total"] >= 0) == (status, True)
        hit = [await seen(client, request("again")) for _ in range(2)][1][1]
        assert hit["cache"] >= 0 and "prefill" not in hit
        refused = await client.post("/v1/chat/completions", json={"messages": []})
        assert refused.status_code == 400 and "auth" in hops_in(refused.headers["server-timing"])
        nobody = await client.post("/v1/chat/completions", json=request(1), headers={"authorization": ""})
        assert nobody.status_code == 401 and "total" in hops_in(nobody.headers["server-timing"])


async def test_openais_client_passes_over_the_trailer(service):
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        stream = await client.chat.completions.create(
            model="m", **request("sdk", stream=True), extra_headers={"X-Server-Timing": "trailer"}
        )
        chunks = [chunk async for chunk in stream]
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) == TOKENS
    assert chunks[-1].choices[0].finish_reason is not None


async def test_the_log_line_has_all_hops(service, caplog):
    caplog.set_level("INFO", "deployments.metrics.telemetry")
    async with service.client() as client:
        await client.post("/v1/chat/completions", json=request("logged", stream=True))
    line = caplog.messages[-1]
    told = dict(hop.split("=") for hop in line.rpartition("timing_ms=")[2].split(","))
    assert told.keys() >= SPENT and float(told["decode"]) >= TOKENS * TOKEN_MS
