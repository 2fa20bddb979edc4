"""What must hold once the faults are over."""

import asyncio
from typing import Any

import httpx
import psutil

from tests.chaos.clients import PATH, Tally, Tenant
from tests.chaos.faults import CACHE, INGRESS, MODEL
from tests.launched import Launched
from tests.serve.test_faults import replicas

WHOLE_WITHIN_S = 120.0
TOKENS = 40
"""Of each answer."""
CONCURRENT = 16
"""What each tenant may have running at once; its leases must all be back in the end."""
MORE_FILES, MORE_MB = 60, 60.0

Sizes = dict[str, tuple[int, float]]


def sizes(service: Launched) -> Sizes:
    """Return, by deployment, the most open files and the most memory (MB, unique) of a replica."""
    found: Sizes = {}
    for deployment in (INGRESS, CACHE, MODEL):
        processes = [psutil.Process(pid) for pid in replicas(service, deployment)]
        files = max((process.num_fds() for process in processes), default=0)
        memory = max((process.memory_full_info().uss / 2**20 for process in processes), default=0.0)
        found[deployment] = files, round(memory, 1)
    return found


async def whole(service: Launched, counts: dict[str, int]) -> None:
    """Return once every deployment has its replicas again and answers; raises TimeoutError."""
    async with asyncio.timeout(WHOLE_WITHIN_S), service.client() as http:
        while {name: len(replicas(service, name)) for name in counts} != counts or not await _answers(http):
            await asyncio.sleep(0.5)


async def _answers(http: httpx.AsyncClient) -> bool:
    body = {"model": "steady", "messages": [{"role": "user", "content": "whole?"}], "max_tokens": 1}
    try:
        return (await http.post(PATH, json=body)).is_success and (await http.get("/v1/conversations")).is_success
    except httpx.TransportError:
        return False


async def check(service: Launched, tenants: list[Tenant], tally: Tally, before: Sizes) -> None:
    """Note each violation in `tally`."""
    for tenant in tenants:
        headers = {"authorization": f"Bearer {tenant.key}"}
        async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=60) as http:
            for conversation, turns in tenant.conversations.items():
                _check_conversation(tenant, turns, await _items(http, conversation), tally)
            for response_id in tenant.responses:
                await _check_response(http, response_id, tally)
            await _check_usage(http, tenant, tally)
            await _check_leases(http, tenant, tally)
    for deployment, (files, memory) in sizes(service).items():
        had_files, had_memory = before[deployment]
        if files > had_files + MORE_FILES:
            tally.violated(f"{deployment}: {files} open files, {had_files} before")
        if memory > had_memory + MORE_MB:
            tally.violated(f"{deployment}: {memory} MB, {had_memory} before")


async def _items(http: httpx.AsyncClient, conversation: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    after = ""
    while True:
        page = (await http.get(f"/v1/conversations/{conversation}/items?order=asc&limit=100{after}")).json()
        found += [(item["role"], "".join(part.get("text") or "" for part in item["content"])) for item in page["data"]]
        if not page.get("has_more"):
            return found
        after = f"&after={page['last_id']}"


def _check_conversation(
    tenant: Tenant, turns: list[tuple[str, str | None]], items: list[tuple[str, str]], tally: Tally
) -> None:
    """Each answered turn is there once, with its answer after it; others are there at most once."""
    asked = [text for role, text in items if role == "user"]
    for question, answer in turns:
        times = asked.count(question)
        if times > 1:
            tally.violated(f"{tenant.name}: a turn is there {times} times")
        if answer is None:
            continue
        if not times:
            tally.violated(f"{tenant.name}: an answered turn is lost")
        elif items[items.index(("user", question)) + 1 :][:1] != [("assistant", answer)]:
            tally.violated(f"{tenant.name}: the answer of a turn is not the one that was sent")
    if foreign := set(asked) - {question for question, _ in turns}:
        tally.violated(f"{tenant.name}: {len(foreign)} turns that it did not ask")


async def _check_response(http: httpx.AsyncClient, response_id: str, tally: Tally) -> None:
    try:
        async with asyncio.timeout(WHOLE_WITHIN_S):
            while (status := (await http.get(f"/v1/responses/{response_id}")).json().get("status")) in (
                "queued",
                "in_progress",
            ):
                await asyncio.sleep(0.5)
    except TimeoutError:
        tally.violated("a background response has not ended")
        return
    if status not in ("completed", "failed"):
        tally.violated(f"a background response is {status}")


async def _check_usage(http: httpx.AsyncClient, tenant: Tenant, tally: Tally) -> None:
    """At least what arrived was counted, and at most that with all that may have been generated besides."""
    least = tally.tokens[tenant.name]
    most = least + tally.partial[tenant.name] * TOKENS
    counted: Any = None
    for _ in range(40):  # it is written behind the answers
        counted = (await http.get("/v1/me")).json()["usage"]["completion_tokens"]
        if least <= counted <= most:
            return
        await asyncio.sleep(0.5)
    tally.violated(f"{tenant.name}: {counted} tokens were counted, between {least} and {most} generated")


async def _check_leases(http: httpx.AsyncClient, tenant: Tenant, tally: Tally) -> None:
    """As many as may run at once are all let in."""
    texts = [f"{tenant.name} at once {number}" for number in range(CONCURRENT)]
    bodies = [{"model": "steady", "messages": [{"role": "user", "content": text}]} for text in texts]
    async with asyncio.timeout(WHOLE_WITHIN_S):
        statuses: list[int] = []
        for _ in range(10):  # a lease of a replica that was killed lapses
            statuses = [each.status_code for each in await asyncio.gather(*(http.post(PATH, json=b) for b in bodies))]
            if statuses == [200] * CONCURRENT:
                return
            await asyncio.sleep(5)
    tally.violated(f"{tenant.name}: leases were not given back: {statuses}")
