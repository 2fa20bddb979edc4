"""Redis freezes under a steady load: no request fails, and none waits longer than the cache's deadline for it.

CHATLLM_TEST_OUTAGE_S=60 makes the outage as long as the figures in docs/explanation/benchmarks.md say.
"""

import asyncio
import os
import signal
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from deployments.cache.client import CacheClient
from deployments.cache.lookup import CacheLookup
from deployments.cache.store import RedisStore
from deployments.config import CacheSettings, ScriptedModel
from tests.integration.serving import served
from tests.integration.test_cache_failures import reaches
from tests.valkey import Server

OUTAGE_S = float(os.environ.get("CHATLLM_TEST_OUTAGE_S", "3"))
CALM_S = min(10.0, OUTAGE_S)
PER_S = 25
SETTINGS = CacheSettings(namespace="frozen")
# What this machine may be late itself, at the worst hundredth.
MARGIN_S = 0.3


@dataclass
class Phase:
    """What the requests of one phase met."""

    statuses: Counter[int] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    @property
    def p50_s(self) -> float:
        return statistics.median(self.latencies_s)

    @property
    def p99_s(self) -> float:
        return sorted(self.latencies_s)[int(0.99 * (len(self.latencies_s) - 1))]


async def loaded(http, seconds: float, name: str) -> Phase:
    """Ask at a steady pace, every second time what was asked before."""
    phase, asks = Phase(), set()

    async def ask(number: int) -> None:
        prompt = "hello again" if number % 2 else f"{name} {number}"
        began = time.perf_counter()
        body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "stream": number % 4 < 2}
        response = await http.post("/v1/chat/completions", json=body)
        phase.latencies_s.append(time.perf_counter() - began)
        phase.statuses[response.status_code] += 1
        phase.results[response.headers.get("x-cache", "none")] += 1

    for number in range(round(seconds * PER_S)):
        asks.add(asyncio.create_task(ask(number)))
        await asyncio.sleep(1 / PER_S)
    await asyncio.gather(*asks)
    return phase


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.mark.alone
@pytest.mark.timeout(60 + 3 * OUTAGE_S)
async def test_redis_freezes_under_a_steady_load(database_url, server):
    store = RedisStore(server.url, SETTINGS.namespace, 0.8 * SETTINGS.lookup_timeout_s, 1.0)
    cache = CacheClient(CacheLookup(SETTINGS, store), SETTINGS)
    model = ScriptedModel(id="quick", kind="scripted", tokens=8)
    async with served(database_url, server.url, model, cache=cache) as service, service.client() as http:
        await loaded(http, 0.5, "warm")
        before = await loaded(http, CALM_S, "before")
        server.signal(signal.SIGSTOP)
        try:
            during = await loaded(http, OUTAGE_S, "during")
        finally:
            server.signal(signal.SIGCONT)
        await reaches(cache)
        after = await loaded(http, CALM_S, "after")
    await store.aclose()

    phases = {"before": before, "during": during, "after": after}
    for name, phase in phases.items():
        print(f"{name}: {phase.p50_s * 1e3:.1f} ms p50, {phase.p99_s * 1e3:.1f} ms p99, {dict(phase.results)}")  # noqa: T201 - with -s
        assert phase.statuses.keys() == {200}, name
    assert during.p99_s < before.p99_s + SETTINGS.lookup_timeout_s + MARGIN_S
    assert before.results["HIT"] > 0 and after.results["HIT"] > 0
    assert cache.misses["redis_breaker_open"] > cache.misses["redis_timeout"] >= 1
