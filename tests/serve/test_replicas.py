"""Two ingress replicas, and two beside the cache with a LangChain cache plugged into each.

What one began, another goes on with; what one took back, none gives any more.
"""

import asyncio
import json
import os
import signal
from collections.abc import Generator
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import pytest

from tests.launched import Launched, launched, service_file
from tests.serve.conftest import MODELS
from tests.serve.test_faults import ingress_urls, replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/responses"
CACHE = {
    "lookup_timeout_s": 2,  # on a busy machine 50 ms pass while nothing is wrong
    "langchain": "tests.langchain_caches:SameWords",
    "langchain_timeout_s": 5,
}
LIMITS = {"timeout_s": 2}  # as above: the limits would hold per replica


@pytest.fixture(scope="module")
def service() -> Generator[Launched]:
    """The service, its models as in the other modules."""
    settings = {"responses": {"stale_after_s": 3}, "cache": CACHE, "key_limits": LIMITS}
    config = service_file(MODELS, {"Ingress": 2, "CacheLookup": 2}, **settings)
    with launched(config) as running:
        yield running


async def ask(service: Launched, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one request over a connection of its own, so that any replica may get it."""
    async with service.client() as http:
        return await http.request(method, path, **options)


async def begun(service: Launched, tokens: int) -> str:
    body = {"model": "slow", "input": "hello", "background": True, "max_output_tokens": tokens}
    response = await ask(service, "POST", PATH, json=body)
    assert (response.status_code, response.json()["status"]) == (200, "queued")
    return response.json()["id"]


async def ended(service: Launched, response_id: str, timeout_s: float = 60) -> dict[str, Any]:
    async with asyncio.timeout(timeout_s):
        while True:
            response = await ask(service, "GET", f"{PATH}/{response_id}")
            if response.status_code == 200 and response.json()["status"] not in ("queued", "in_progress"):
                return response.json()
            await asyncio.sleep(0.2)


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


async def test_a_chain_goes_over_the_replicas(service: Launched) -> None:
    previous: dict[str, Any] = {}
    for turn in range(8):
        body = {"model": "quick", "input": f"turn {turn}", **previous}
        response = await ask(service, "POST", PATH, json=body)
        assert response.status_code == 200, response.text
        assert response.json()["usage"]["input_tokens"] == turn * (2 + 16) + 2
        previous = {"previous_response_id": response.json()["id"]}


async def test_the_background_is_polled_resumed_and_cancelled_from_any_replica(service: Launched) -> None:
    response_id = await begun(service, 60)
    streams = await asyncio.gather(
        *(ask(service, "GET", f"{PATH}/{response_id}?stream=true&starting_after={after}") for after in (0, 0, 5, 5))
    )
    first, second, third, fourth = (events_of(stream.text) for stream in streams)
    assert first == second
    assert third == fourth == first[5:]
    assert first[-1]["response"] == await ended(service, response_id)
    assert first[-1]["response"]["output"][0]["content"][0]["text"] == "hello " * 60

    cancelled = await asyncio.gather(*(begun(service, 2000) for _ in range(4)))
    await asyncio.sleep(0.5)
    for response_id in cancelled:
        assert (await ask(service, "POST", f"{PATH}/{response_id}/cancel")).json()["status"] == "cancelled"
    async with asyncio.timeout(5):
        while (await ask(service, "GET", "/v1/models/slow")).json()["running"]:
            await asyncio.sleep(0.1)


async def test_responses_of_a_killed_replica_are_run_by_the_other(service: Launched) -> None:
    unseen = await asyncio.gather(*(begun(service, 150) for _ in range(8)))
    await asyncio.sleep(1)
    os.kill(replicas(service, "Ingress")[0], signal.SIGKILL)
    for response_id in unseen:
        found = await ended(service, response_id)
        assert (found["status"], found["error"]) == ("incomplete", None)
        assert found["output"][0]["content"][0]["text"] == "hello " * 150


async def test_what_runs_in_the_background_holds_its_keys_place_on_all_replicas_until_it_ends(
    service: Launched,
) -> None:
    secret = service.chatllm("keys", "create", "one at once", "--concurrent", "1", "--tpm", "1000").strip()
    headers = {"authorization": f"Bearer {secret}"}
    body = {"model": "slow", "input": "hello", "background": True, "max_output_tokens": 400}

    async def begin() -> httpx.Response:
        return await ask(service, "POST", PATH, json=body, headers=headers)

    answers = await asyncio.gather(*(begin() for _ in range(20)))
    begun_here = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(begun_here), len(refused)) == (1, 19), [answer.text for answer in answers]
    for answer in refused:
        assert answer.json()["error"]["code"] == "rate_limit_exceeded" and int(answer.headers["retry-after"]) >= 1
    for process in replicas(service, "Ingress"):
        os.kill(process, signal.SIGKILL)
    statuses: list[int] = []
    async with asyncio.timeout(90):
        while True:
            with suppress(httpx.TransportError):
                found = await ask(service, "GET", f"{PATH}/{begun_here[0]}", headers=headers)
                if found.status_code == 200 and found.json()["status"] not in ("queued", "in_progress"):
                    break
                statuses.append((await begin()).status_code)
            await asyncio.sleep(0.2)
    assert found.json()["usage"]["output_tokens"] == 400
    assert 429 in statuses and 200 not in statuses
    async with asyncio.timeout(70):  # 400 of 1,000 tokens are spent, as soon as the place is free
        while (last := await begin()).status_code == 429:
            await asyncio.sleep(0.2)
    assert last.status_code == 200
    await ask(service, "POST", f"{PATH}/{last.json()['id']}/cancel", headers=headers)


async def chat(http: httpx.AsyncClient, text: str, control: str = "") -> httpx.Response:
    body = {"model": "quick", "messages": [{"role": "user", "content": text}], "temperature": 0}
    return await http.post("/v1/chat/completions", json=body, headers={"cache-control": control})


async def in_memory(http: httpx.AsyncClient, admin: dict[str, str], text: str) -> None:
    """Ask a replica until it has answered ten times from its own memory, as it tells itself."""

    async def memory_hits() -> int:
        return (await http.get("/v1/admin/cache", headers=admin)).json()["replica"]["memory_hits"]

    before = await memory_hits()
    async with asyncio.timeout(20):
        while await memory_hits() < before + 10:
            assert (await chat(http, text)).status_code == 200


@pytest.mark.parametrize("way", ["one key over HTTP", "a model by the command line"])
async def test_a_purge_holds_on_every_replica_within_a_second(service: Launched, way: str) -> None:
    """Asked for what is stored alone, a replica that answers at all gives the old answer."""
    admin = {"authorization": f"Bearer {service.chatllm('keys', 'create', way, '--admin').strip()}"}
    headers, asked = {"authorization": f"Bearer {service.key}"}, f"purged by {way}"
    async with AsyncExitStack() as stack:
        https = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers, timeout=30))
            for url in await ingress_urls(service)
        ]
        key = (await chat(https[0], asked)).headers["x-cache-key"]
        for http in https:
            await in_memory(http, admin, asked)
        statuses: dict[httpx.AsyncClient, list[int]] = {http: [] for http in https}

        async def go_on_asking(http: httpx.AsyncClient) -> None:
            while True:
                statuses[http].append((await chat(http, asked, "only-if-cached")).status_code)
                await asyncio.sleep(0.02)  # as fast as they can, the clients would keep the replicas from working

        asking = [asyncio.create_task(go_on_asking(http)) for http in https]
        if way == "one key over HTTP":
            purged = await https[0].delete("/v1/admin/cache", params={"key": key}, headers=admin)
            assert purged.status_code == 200
        else:
            config = str(service.folder / "service.yaml")
            await asyncio.to_thread(service.chatllm, "cache", "purge", "--model", "quick", "--config", config)
        await asyncio.sleep(1.1)
        late = {http: len(found) for http, found in statuses.items()}
        await asyncio.sleep(1)
        for task in asking:
            task.cancel()
        for http, found in statuses.items():
            assert len(found) > late[http] + 2
            assert set(found[late[http] + 1 :]) == {504}, way  # one was under way
            assert 200 in found or way == "one key over HTTP"
        assert (await chat(https[0], asked)).headers["x-cache"] == "MISS"


async def test_a_langchain_cache_answers_what_is_similar_until_it_is_purged(service: Launched) -> None:
    admin = {"authorization": f"Bearer {service.chatllm('keys', 'create', 'similar', '--admin').strip()}"}
    async with service.client() as http:
        frog, original, hit = await taught(http)
        assert hit.headers["x-cache"] == "HIT"
        assert hit.headers["x-cache-reason"].startswith("approximate")
        assert hit.json()["choices"] == original.json()["choices"]
        key = hit.headers["x-cache-key"]
        assert (await http.delete("/v1/admin/cache", params={"key": key}, headers=admin)).status_code == 200
        for words in (f"a green small {frog}", f"green a small {frog}", f"{frog} green a small") * 4:
            assert (await chat(http, words, "only-if-cached")).status_code == 504


async def taught(http: httpx.AsyncClient) -> tuple[str, httpx.Response, httpx.Response]:
    """Ask until something similar is answered: what was asked about, its answer, and that to the similar question.

    The look-up of a busy machine can miss its deadline; then it is not known whether there
    was a purge, and the answer may not be kept.
    """
    for attempt in range(6):
        frog = f"frog{attempt}"
        original = await chat(http, f"a small green {frog}")
        for _ in range(100):  # until the replica is asked that has been taught
            hit = await chat(http, f"a green small {frog}", "only-if-cached")
            if hit.status_code == 200:
                return frog, original, hit
            await asyncio.sleep(0.05)
    raise AssertionError("nothing similar was found")
