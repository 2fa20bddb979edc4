"""Clients that come back to streams of ingress replicas in processes of their own, over connections that are cut."""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.cutting import Client, cutting_proxy
from tests.ingress_processes import Ingress, ingress_processes

GRACE_S = 2.0
MODEL = {"tokens": 2000, "token_ms": 10, "context_tokens": 5000}


@pytest.fixture
async def pair(database_url: str, valkey_url: str) -> AsyncGenerator[list[Ingress]]:
    streams = {"grace_s": GRACE_S}
    limits = {"timeout_s": 2}  # on a busy machine, 50 ms pass while nothing is wrong
    async with ingress_processes(2, database_url, valkey_url, MODEL, streams=streams, key_limits=limits) as made:
        yield made


def request(text: str, tokens: int, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": text}]
    return {"model": "model", "messages": said, "max_tokens": tokens, "temperature": 0, **more}


async def test_cut_streams_go_on_elsewhere_and_after_a_kill(pair: list[Ingress]) -> None:
    cuts = random.Random(3)
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(cutting_proxy(one.url, lambda: cuts.choice([2, 9, 25, None])))
            for one in pair
        ]

        def client(at: int) -> Client:
            turn = itertools.cycle([proxies[at % 2], proxies[1 - at % 2]])
            return Client(pair[0].key, lambda: next(turn))

        read = await asyncio.gather(*(client(at).run(request(f"stream {at}", 60)) for at in range(20)))
    assert [one.text for one in read] == [f"stream {at} " * 30 for at in range(20)]
    assert all(len(set(one.ids)) == len(one.ids) for one in read) and sum(one.resumed for one in read) > 10
    assert sum(len(one.begun) for one in pair) == 20

    lost, left = pair
    async with lost.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
    places = [itertools.chain([lost.url], itertools.repeat(left.url)) for _ in range(5)]
    clients = [Client(lost.key, lambda place=place: next(place)) for place in places]
    kept: list[dict[str, Any]] = [{"conversation": conversation}, {}, {}, {}, {}]
    tasks = [asyncio.create_task(one.run(request(f"lost {at}", 200, **kept[at]))) for at, one in enumerate(clients)]
    async with asyncio.timeout(60):
        while not all(len(one.ids) > 20 for one in clients):
            await asyncio.sleep(0.05)
    await lost.kill()
    await asyncio.gather(*tasks)
    assert [one.text for one in clients] == [f"lost {at} " * 100 for at in range(5)]
    async with left.client() as http:
        items = (await http.get(f"/v1/conversations/{conversation}/items?order=asc")).json()["data"]
    assert [(item["role"], item["status"]) for item in items] == [("user", "completed"), ("assistant", "completed")]
    assert items[1]["content"][0]["text"] == "lost 0 " * 100
