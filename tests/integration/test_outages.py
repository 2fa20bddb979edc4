"""What happens to conversations and keys while Postgres is away, frozen or killed."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.config import HistorySettings, KeySettings
from deployments.errors import HistoryUnavailable, Unauthenticated
from deployments.history.postgres import PostgresHistory
from deployments.history.types import NewItem
from deployments.history.writer import HistoryWriter
from deployments.infra.postgres.database import Database
from deployments.keys.authenticator import CONFIRM_TIMEOUT_S, Authenticator
from deployments.keys.postgres import PostgresKeys
from deployments.keys.types import new_secret
from deployments.local.servers.postgres import PostgresServer
from deployments.local.state import StateFolder
from deployments.metrics import stores

TIMEOUT_S = 1.0
SLACK_S = 0.6  # for a busy machine
TENANT = "ann"
PLENTY = 10_000_000


@pytest.fixture(scope="module")
def shared_server(new_folder: Callable[[], Path]) -> Generator[PostgresServer]:
    server = PostgresServer(StateFolder.open(new_folder()))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: PostgresServer) -> Generator[PostgresServer]:
    """A Postgres apart from that of other tests; it is up again after each, but nobody restarts it within one."""
    yield shared_server
    if shared_server.pid:
        signal_all(shared_server, signal.SIGCONT)
    else:
        shared_server.start()


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    database = Database(SecretStr(url), HistorySettings(timeout_s=TIMEOUT_S))
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def until(attempt: Callable[[], Awaitable[object]], timeout_s: float = 20.0) -> None:
    """Repeat `attempt` until it succeeds."""
    async with asyncio.timeout(timeout_s):
        while True:
            with suppress(HistoryUnavailable, AssertionError):
                await attempt()
                return
            await asyncio.sleep(0.05)


def signal_all(server: PostgresServer, number: signal.Signals) -> None:
    """Signal the postmaster and its children: the one that serves a connection is a child."""
    assert server.pid
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    for pid in (server.pid, *map(int, children.split())):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def test_it_opens_without_postgres_and_heals_alone(server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop)
    async with opened(server.url) as database:
        history = PostgresHistory(database)
        began = time.monotonic()
        with pytest.raises(HistoryUnavailable) as caught:
            await history.create_conversation(TENANT, {})
        assert caught.value.retry_after_s and caught.value.retry_after_s > 0
        assert time.monotonic() - began < TIMEOUT_S + SLACK_S

        await asyncio.to_thread(server.start)

        await until(lambda: history.create_conversation(TENANT, {}))


class Told:
    """What the watch tells, in place of the metrics."""

    def __init__(self) -> None:
        self.is_alone = False
        self.postgres: list[bool] = []
        self.redis: list[bool] = []

    def postgres_answered(self, took_s: float | None) -> None:
        self.postgres.append(took_s is not None)

    def redis_answers(self, is_up: bool) -> None:
        self.redis.append(is_up)


async def test_the_watch_tells_when_the_stores_go_and_come_back(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "WATCH_S", 0.05)
    told = Told()

    async def has_told(postgres: bool, redis: bool) -> None:
        assert (told.postgres[-1:], told.redis[-1:]) == ([postgres], [redis])

    async with opened(server.url) as database, stores.watched(database.ping, told, told):
        await until(lambda: has_told(postgres=True, redis=True))
        signal_all(server, signal.SIGSTOP)
        told.is_alone = True
        await until(lambda: has_told(postgres=False, redis=False))
        signal_all(server, signal.SIGCONT)
        told.is_alone = False
        await until(lambda: has_told(postgres=True, redis=True))


async def test_a_frozen_postgres_is_unavailable_in_time_and_harmless_later(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        history = PostgresHistory(database)
        made = await history.create_conversation(TENANT, {})
        item = NewItem.message("user", "once")
        signal_all(server, signal.SIGSTOP)
        try:
            began = time.monotonic()
            results = await asyncio.gather(
                *(history.append(TENANT, made.id, [item]) for _ in range(30)), return_exceptions=True
            )
            assert time.monotonic() - began < TIMEOUT_S + SLACK_S
            assert {type(result) for result in results} == {HistoryUnavailable}
        finally:
            signal_all(server, signal.SIGCONT)

        await until(lambda: history.append(TENANT, made.id, [item]))
        assert len((await history.items(TENANT, made.id)).data) == 1


async def test_every_connection_is_free_again_after_a_freeze(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        history = PostgresHistory(database)
        made = await history.create_conversation(TENANT, {})
        for _ in range(3):
            signal_all(server, signal.SIGSTOP)
            await asyncio.gather(*(history.conversation(TENANT, made.id) for _ in range(30)), return_exceptions=True)
            signal_all(server, signal.SIGCONT)
            await until(lambda: history.conversation(TENANT, made.id))

        await asyncio.gather(*(history.conversation(TENANT, made.id) for _ in range(50)))


async def test_an_abandoned_request_gives_its_connection_back(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        await until(lambda: database.fetch("SELECT 1"))
        for _ in range(3):
            tasks = [asyncio.create_task(database.fetch("SELECT pg_sleep(0.3)")) for _ in range(30)]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(50)))


async def test_a_slow_query_ends_on_the_server_too(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        with pytest.raises(HistoryUnavailable):
            await database.fetch("SELECT pg_sleep(30)")

        async def nothing_sleeps() -> None:
            rows = await database.fetch(
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep(30)' AND state='active'"
            )
            assert rows == []

        await until(nothing_sleeps, 5)


async def test_kill_9_in_mid_load_loses_nothing_and_doubles_nothing(server: PostgresServer) -> None:
    server.watch()
    before = server.restarts
    async with opened(server.url) as database:
        history = PostgresHistory(database)
        made = [(await history.create_conversation(TENANT, {})).id for _ in range(10)]
        writer = HistoryWriter(history, max_pending=10_000)
        await writer.open()
        for number in range(60):
            if number in (20, 40):
                while not server.pid:
                    await asyncio.sleep(0.05)
                os.kill(server.pid, signal.SIGKILL)
            for conversation in made:
                question = NewItem.message("user", f"q{number}")
                answer = NewItem.message("assistant", f"a{number}")
                writer.submit(TENANT, conversation, [question, answer])
            await asyncio.sleep(0.01)

        assert await writer.drain(30) == 0

        assert (writer.written, writer.failed, server.restarts - before) == (600, 0, 2)
        for conversation in made:
            chain = (await history.context(TENANT, conversation, None, 1000, PLENTY)).items
            words = [item.payload["content"][0]["text"] for item in chain]
            assert words == [f"{who}{number}" for number in range(60) for who in "qa"]


async def test_what_is_written_behind_waits_for_postgres_to_come_back(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        history = PostgresHistory(database)
        made = await history.create_conversation(TENANT, {})
        writer = HistoryWriter(history, max_pending=100)
        await writer.open()
        await asyncio.to_thread(server.stop)
        for number in range(20):
            writer.submit(TENANT, made.id, [NewItem.message("user", str(number))])
        await asyncio.sleep(0.5)
        assert (writer.pending, writer.written) == (20, 0)

        await asyncio.to_thread(server.start)

        assert await writer.drain(20) == 0
        assert len((await history.items(TENANT, made.id)).data) == 20


async def test_known_keys_open_while_postgres_is_away_and_unknown_ones_are_503(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        keys = PostgresKeys(database)
        key, secret = await keys.create(f"laptop {os.urandom(4).hex()}")
        settings = KeySettings(cache_ttl_s=0.5, outage_ttl_s=5.0)
        authenticator = Authenticator(keys, settings)
        assert (await authenticator.authenticate(secret)).key_id == key.id
        await asyncio.to_thread(server.stop)

        for _ in range(10):
            await asyncio.sleep(0.2)
            began = time.monotonic()
            assert (await authenticator.authenticate(secret)).key_id == key.id
            assert time.monotonic() - began < TIMEOUT_S
        with pytest.raises(HistoryUnavailable):
            await authenticator.authenticate(new_secret())

        await asyncio.to_thread(server.start)
        await until(lambda: keys.revoke(key.id))
        await asyncio.sleep(settings.cache_ttl_s)
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(secret)
        await authenticator.aclose()


async def test_a_frozen_postgres_does_not_hold_up_a_known_key(server: PostgresServer) -> None:
    async with opened(server.url) as database:
        keys = PostgresKeys(database)
        _, secret = await keys.create(f"laptop {os.urandom(4).hex()}")
        authenticator = Authenticator(keys, KeySettings(cache_ttl_s=0.4, outage_ttl_s=60.0))
        await authenticator.authenticate(secret)
        signal_all(server, signal.SIGSTOP)
        try:
            await asyncio.sleep(0.5)
            waits: list[float] = []
            for _ in range(20):
                began = time.monotonic()
                await authenticator.authenticate(secret)
                waits.append(time.monotonic() - began)
                await asyncio.sleep(0.05)
            assert max(waits) < CONFIRM_TIMEOUT_S + SLACK_S
            assert sorted(waits)[len(waits) // 2] < 0.05
        finally:
            signal_all(server, signal.SIGCONT)
            await authenticator.aclose()


async def test_a_revocation_holds_everywhere_within_the_time_to_live(database: Database) -> None:
    keys = PostgresKeys(database)
    key, secret = await keys.create(f"laptop {os.urandom(4).hex()}")
    settings = KeySettings(cache_ttl_s=1.0)
    replicas = [Authenticator(keys, settings) for _ in range(3)]
    for replica in replicas:
        await replica.authenticate(secret)
    await asyncio.sleep(0.4)
    await keys.revoke(key.id)
    revoked_at = time.monotonic()

    async def refused_at(replica: Authenticator) -> float:
        while True:
            try:
                await replica.authenticate(secret)
            except Unauthenticated:
                return time.monotonic()
            await asyncio.sleep(0.02)

    ends = await asyncio.gather(*(refused_at(replica) for replica in replicas))

    assert max(ends) - revoked_at <= settings.cache_ttl_s + 0.3
    for replica in replicas:
        await replica.aclose()
