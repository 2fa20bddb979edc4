"""Over two ingress replicas with a LangChain cache behind them, identical requests are still one generation."""

import asyncio
from contextlib import closing

import pytest

from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.steering import UNSTEERED
from deployments.cache.store import MemoryStore
from deployments.chat.coalescing import Coalescer
from deployments.chat.generation import Subscription
from deployments.chat.lookup import AnswerLookup, CacheQuery
from deployments.chat.peers import Peers
from deployments.config import CacheSettings
from deployments.models.delivery.listener import Listener
from deployments.models.protocol import Frames, ModelRequest, Put, Reply
from tests import langchain_caches
from tests.langchain_caches import PATH, SameWords

REQUEST = ModelRequest("1", b'{"messages":[{"role":"user","content":"hello"}],"temperature":0}', True)
QUERY = CacheQuery(f"v2:tenant:model:{'0' * 64}", "", UNSTEERED, "chatcmpl-1")
HEAD = b'data: {"id":"chatcmpl-0","choices":[]}\n\n'


async def test_over_replicas_it_is_one_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = SameWords()
    monkeypatch.setattr(langchain_caches, "plugged", cache)
    cache.takes_s = 0.2
    settings = CacheSettings(langchain=PATH, langchain_timeout_s=5, lookup_timeout_s=2)
    lookup = CacheLookup(settings, MemoryStore())
    generations = 0

    async def generate(put: Put) -> None:
        nonlocal generations
        generations += 1
        for _ in range(20):
            put(Frames(HEAD))
            await asyncio.sleep(0.05)
        put(Reply(b'{"id":"chatcmpl-0","choices":[]}', 1, 2, "stop"))

    async def asked() -> tuple[str, int]:
        listener, client = Listener(), CacheClient(lookup, settings)
        await listener.open("127.0.0.1")
        coalescer = Coalescer(client, Peers(listener))
        found = await AnswerLookup(client, coalescer).find(QUERY, REQUEST, generate)
        assert isinstance(found.answer, Subscription)
        with closing(found.answer) as answer:
            while await answer.next() is not None:
                pass
        data = answer.taken()
        await client.aclose()
        await coalescer.aclose()
        await listener.aclose()
        return found.result, data.count(b"\n\n")

    answers = await asyncio.gather(asked(), asked())
    assert sorted(answers) == [("JOIN", 20), ("MISS", 20)]
    assert generations == 1
