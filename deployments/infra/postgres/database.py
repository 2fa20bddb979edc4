"""The one pool of connections to Postgres that all stores of a process share."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import ceil
from typing import Any

import asyncpg
from pydantic import SecretStr

from deployments.config import HistorySettings
from deployments.errors import HistoryUnavailable, NotFound
from deployments.infra.postgres.errors import RETRY_AFTER_S, translated, translation
from deployments.infra.postgres.schema import migrate
from deployments.infra.tracing import child

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.1
MAX_DELAY_S = 5.0
MIGRATION_TIMEOUT_S = 600.0
CLOSE_TIMEOUT_S = 5.0
_POSTGRES = {"db.system.name": "postgresql"}


class Database:
    """A lazy pool and the migrations before it. The constructor does no I/O.

    Postgres may be away at any time, at the start too: every use then raises
    `HistoryUnavailable`, and works again once Postgres is back.
    """

    def __init__(self, url: SecretStr, settings: HistorySettings) -> None:
        self._url = url
        self._settings = settings
        self._pool: asyncpg.Pool | None = None
        self._migration: asyncio.Task[None] | None = None
        self._migrated = asyncio.Event()
        self._is_away = False

    async def open(self) -> None:
        """Make the pool and run the migrations in the background, again and again until Postgres lets them."""
        timeout_s = self._settings.timeout_s
        self._pool = await asyncpg.create_pool(
            self._url.get_secret_value(),
            min_size=0,
            max_size=self._settings.pool_size,
            timeout=timeout_s,
            server_settings={
                "application_name": "chatllm",
                "statement_timeout": str(round(timeout_s * 1000)),
                "jit": "off",
            },
            reset=_keep,
        )
        self._migration = asyncio.create_task(self._migrate(), name="migrations")

    async def close(self) -> None:
        """Close every connection, forcibly if its queries do not finish within 5 s."""
        if self._migration is not None:
            self._migration.cancel()
            await asyncio.wait([self._migration])
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy]:
        """Lend a connection; waiting for it and using it may take `timeout_s` together.

        Past that the connection is thrown away, so that a frozen server cannot
        hold the caller any longer, and the outcome of what ran is unknown.
        """
        try:
            with child("postgres", _POSTGRES), translated():
                async with (
                    asyncio.timeout(self._settings.timeout_s) as deadline,
                    self._borrowed(deadline) as connection,
                ):
                    yield connection
        except HistoryUnavailable:
            if not self._is_away:
                log.warning("the database cannot be reached")
            self._is_away = True
            raise
        if self._is_away:
            self._is_away = False
            log.info("the database can be reached again")

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one query, in one round trip, and return its rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def ping(self) -> None:
        """Make one round trip; raises HistoryUnavailable, at the latest after `timeout_s`."""
        await self.fetch("SELECT 1")

    @asynccontextmanager
    async def _borrowed(self, deadline: asyncio.Timeout) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy]:
        pool = await self._usable_pool()
        async with pool.acquire(timeout=self._settings.timeout_s) as connection:
            try:
                yield connection
            except BaseException:
                if deadline.expired():
                    connection.terminate()
                raise

    async def _usable_pool(self) -> asyncpg.Pool:
        if self._pool is None or (self._is_away and not self._migrated.is_set()):
            raise HistoryUnavailable(retry_after_s=RETRY_AFTER_S)
        await self._migrated.wait()
        return self._pool

    async def _migrate(self) -> None:
        delay_s = FIRST_DELAY_S
        while not self._migrated.is_set():
            try:
                await self._migrate_once()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
                self._is_away = True
                log.warning(
                    "the database's schema cannot be brought up to date yet",
                    extra={
                        "error": type(error).__name__,
                        "translated": str(translation(type(error))),
                        "next_try_s": delay_s,
                    },
                )
                await asyncio.sleep(delay_s)
                delay_s = min(MAX_DELAY_S, delay_s * 2)
            else:
                self._is_away = False
                self._migrated.set()

    async def _migrate_once(self) -> None:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            connection = await asyncpg.connect(self._url.get_secret_value(), timeout=ceil(self._settings.timeout_s))
            try:
                await migrate(connection)
            finally:
                connection.terminate()


def only(rows: list[asyncpg.Record], missing: NotFound) -> asyncpg.Record:
    """Return the one row that a query found; raises `missing` where it found none."""
    if not rows:
        raise missing
    return rows[0]


async def _keep(_: object) -> None:
    """Leave a released connection as it is: our queries change no session, and a reset is a round trip."""
