"""Over two ingress replicas with a LangChain cache behind them, identical requests are still one generation."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.steering import UNSTEERED
from deployments.cache.store import MemoryStore
from deployments.config import CacheSettings
from deployments.flights.flights import Flights
from deployments.flights.neighbours import Neighbours
from deployments.models.listener import Listener
from deployments.models.protocol import Frames, Generation, Message, Reply
from deployments.reuse import Reuse, Wish
from tests import langchain_caches
from tests.langchain_caches import PATH, SameWords

GENERATION = Generation("1", b'{"messages":[{"role":"user","content":"hello"}],"temperature":0}', True)
WISH = Wish(f"v2:tenant:model:{'0' * 64}", "", UNSTEERED, "chatcmpl-1")
HEAD = b'data: {"id":"chatcmpl-0","choices":[]}\n\n'


async def test_over_replicas_it_is_one_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SameWords()
    monkeypatch.setattr(langchain_caches, "plugged", cache)
    cache.takes_s = 0.2
    settings = CacheSettings(langchain=PATH, langchain_timeout_s=5, lookup_timeout_s=2)
    lookup = CacheLookup(settings, MemoryStore())
    generations = 0

    async def generate() -> AsyncGenerator[Message]:
        nonlocal generations
        generations += 1
        for _ in range(20):
            yield Frames(HEAD)
            await asyncio.sleep(0.05)
        yield Reply(b'{"id":"chatcmpl-0","choices":[]}', 1, 2, "stop")

    async def asked() -> tuple[str, int]:
        listener, client = Listener(), CacheClient(lookup, settings)
        await listener.open("127.0.0.1")
        flights = Flights(client, Neighbours(listener))
        found = await Reuse(client, flights).find(WISH, GENERATION, generate)
        assert isinstance(found.answer, AsyncGenerator)
        data = b"".join([message.data async for message in found.answer if isinstance(message, Frames)])
        await client.aclose()
        await flights.aclose()
        await listener.aclose()
        return found.result, data.count(b"\n\n")

    answers = await asyncio.gather(asked(), asked())
    assert sorted(answers) == [("JOIN", 20), ("MISS", 20)]
    assert generations == 1
