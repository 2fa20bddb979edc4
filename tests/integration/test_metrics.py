"""Figures of several replicas in a real Valkey, and of two whole services around one."""

import asyncio
import secrets
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from deployments.chat.summary import Summary
from deployments.config import ScriptedModel
from deployments.infra.redis.errors import StoreError
from deployments.metrics.buckets import BUCKET_S, BUCKETS
from deployments.metrics.memory import MemoryFigures
from deployments.metrics.recorder import Recorder
from deployments.metrics.remote import RedisFigures
from deployments.metrics.sharing import Metrics
from deployments.metrics.store import TTL_S, FigureStore, State
from deployments.metrics.telemetry import Telemetry
from tests.integration.serving import Served, served
from tests.integration.test_cache_failures import joined
from tests.unit.metrics.clocks import Clock
from tests.valkey import ClusterNode, Server

QUICK = ScriptedModel(id="quick", kind="scripted", tokens=8)
NewStore = Callable[[], FigureStore]


@pytest.fixture
def two_nodes(tmp_path: Path) -> Generator[list[ClusterNode]]:
    """The nodes of a cluster that is still to be made."""
    nodes = [ClusterNode(tmp_path) for _ in range(2)]
    yield nodes
    for node in nodes:
        node.kill()


@pytest.fixture(params=["memory", "redis", "cluster"])
async def new_store(request: pytest.FixtureRequest) -> AsyncGenerator[NewStore]:
    """Return connections to one store."""
    opened: list[FigureStore] = []
    memory, namespace = MemoryFigures(), f"test-{secrets.token_hex(4)}"
    url = request.getfixturevalue("valkey_url") if request.param == "redis" else ""
    if request.param == "cluster":
        nodes = request.getfixturevalue("two_nodes")
        await joined(nodes)
        url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"

    def new() -> FigureStore:
        opened.append(RedisFigures(url, namespace) if url else memory)
        return opened[-1]

    yield new
    for store in opened:
        await store.aclose()


@pytest.fixture
def empty_valkey(tmp_path: Path) -> Generator[Server]:
    """A Valkey of this test's own."""
    server = Server(tmp_path)
    yield server
    server.kill()


def ask(recorder: Recorder, status: int = 200) -> None:
    recorder.began()
    recorder.ended("req_1", "key_1", Summary("quick", "MISS", completion_tokens=10), status, 0.1)


async def test_what_is_left_is_found_with_its_age(new_store: NewStore) -> None:
    one, other = new_store(), new_store()
    first = await one.publish("one", State(1000.0, 900.0, 3), {"200": b"\x00 new \xff", "faults": b"f"}, is_first=True)
    assert not first.was_known
    again = await one.publish("one", State(1002.0, 900.0, 4), {"200": b"newer"}, is_first=False)
    assert again.was_known and again.at >= first.at
    await other.publish("other", State(5.0, 1.0, 0), {"1": b"more"}, is_first=True)
    readings = await other.read(again.at - 60)
    assert readings.is_whole and readings.now >= again.at
    found = {replica.id: replica for replica in readings.replicas}
    assert found["one"].buckets == [b"newer"] and found["one"].faults == b"f"
    assert found["one"].state == State(1002.0, 900.0, 4)
    assert found["one"].offset_s == pytest.approx(again.at - 1002.0, abs=0.01)
    assert found["other"].buckets == [b"more"]


async def test_replicas_of_one_store_tell_the_same(new_store: NewStore) -> None:
    clocks = Clock(100.0), Clock(90_000.0)
    metrics = [Metrics(Recorder(clock), new_store()) for clock in clocks]
    for _ in range(30):
        for each, status in zip(metrics, (200, 503), strict=True):
            ask(each.recorder, status)
            await each.publish()
        for clock in clocks:
            clock.seconds += BUCKET_S  # faster than the store's
    reports = [await each.report(3600, 60) for each in metrics]
    for told in reports:
        assert (told.replicas_seen, told.failure) == (2, "")
        assert told.report.total.statuses == {200: 30, 503: 30}
        assert told.report.total.output_tokens == 600
        assert len(told.report.faults) == 30


async def test_figures_weigh_no_more_after_another_hour(valkey_url: str) -> None:
    namespace, clock = f"test-{secrets.token_hex(4)}", Clock(100.0)
    metrics = Metrics(Recorder(clock), RedisFigures(valkey_url, namespace))
    async with redis.asyncio.from_url(valkey_url) as client:

        async def an_hour() -> tuple[int, int]:
            for _ in range(BUCKETS):
                ask(metrics.recorder)
                clock.seconds += BUCKET_S
            await metrics.publish()
            (name,) = [name async for name in client.scan_iter(match=f"{namespace}:*:{metrics.recorder.id}")]
            assert 0 < await client.pttl(name) <= TTL_S * 1000
            return await client.hlen(name), await client.memory_usage(name, samples=0)

        await an_hour()  # the first one fills a hash that has grown only just
        first, second = await an_hour(), await an_hour()
    assert first[0] == second[0] == BUCKETS
    assert second[1] <= first[1] * 1.05 < 300_000
    await metrics.aclose()


async def test_who_is_gone_for_good_is_forgotten_with_the_next_start(valkey_url: str) -> None:
    namespace = f"test-{secrets.token_hex(4)}"
    store = RedisFigures(valkey_url, namespace)
    state = State(1000.0, 900.0, 0)
    receipt = await store.publish("alive", state, {"0": b"x"}, is_first=True)
    index = f"{namespace}:{{metrics}}:1:replicas"
    async with redis.asyncio.from_url(valkey_url) as client:
        gone = f"{round((receipt.at - TTL_S - 1) * 1000)} rubbish"
        await client.hset(index, mapping={"gone": gone, "other": "no time at all"})  # type: ignore[misc]
        assert [replica.id for replica in (await store.read(0)).replicas] == ["alive"]
        assert not (await store.read(0)).is_whole
        await store.publish("new", state, {"0": b"x"}, is_first=True)
        assert set(await client.hkeys(index)) == {b"alive", b"new"}  # type: ignore[misc]
    assert (await store.read(0)).is_whole
    await store.aclose()


async def test_a_store_that_is_frozen_restarted_and_empty_loses_nothing(empty_valkey: Server) -> None:
    server = empty_valkey
    clock = Clock(1000.0)
    one = Metrics(Recorder(clock), RedisFigures(server.url, "test"))
    other = Metrics(Recorder(), RedisFigures(server.url, "test"))
    try:
        ask(one.recorder)
        await one.publish()
        server.signal(signal.SIGSTOP)
        ask(one.recorder)
        with pytest.raises(StoreError):
            await one.publish()
        told = await one.report(900, 15)
        assert (told.failure, told.report.total.statuses) == ("redis_timeout", {200: 2})
        server.kill()
        clock.seconds += BUCKET_S
        ask(one.recorder)
        with pytest.raises(StoreError):
            await one.publish()
        server.start()
        for _ in range(2):  # with the first, it is seen that everything is lost
            await one.publish()
        await other.publish()
        told = await other.report(900, 15)
        assert (told.failure, told.replicas_seen, told.report.total.statuses) == ("", 2, {200: 3})
    finally:
        await one.aclose()
        await other.aclose()


@asynccontextmanager
async def two_services(database_url: str, redis_url: str) -> AsyncGenerator[tuple[Served, Served]]:
    async with served(database_url, redis_url, QUICK) as one, served(database_url, redis_url, QUICK) as other:
        yield one, other


async def become_administrators(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE api_keys SET is_admin = true")
    await connection.close()


async def test_two_services_tell_what_both_did(database_url: str, empty_valkey: Server) -> None:
    async with two_services(database_url, empty_valkey.url) as services:
        body = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
        await become_administrators(database_url)
        for service, times in zip(services, (3, 2), strict=True):
            async with service.client() as client:
                for _ in range(times):
                    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        clients = [service.client() for service in services]
        try:
            async with asyncio.timeout(20):
                told: list[dict[str, Any]] = []
                while [each["total"]["requests"] for each in told] != [{"200": 5}, {"200": 5}]:
                    await asyncio.sleep(0.2)
                    answers = [await client.get("/v1/admin/metrics") for client in clients]
                    told = [answer.json() for answer in answers if answer.status_code == 200]
        finally:
            for client in clients:
                await client.aclose()
        for each in told:
            assert (each["replicas_seen"], each["is_partial"]) == (2, False)
            assert each["total"]["output_tokens"] == 40
            assert each["models"][0]["total"] == each["total"]


async def test_how_many_writes_wait_is_told(
    database_url: str, empty_valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(Telemetry, "pending_writes", lambda _, count: told.append(count))
    async with served(database_url, empty_valkey.url, QUICK) as service, service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        body = {"messages": [{"role": "user", "content": "hello"}], "conversation": conversation}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    assert max(told) >= 1 and told[-1] == 0
