"""Loaded adapters in Postgres; see store.py for what each method promises."""

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import clean
from deployments.infra.postgres.queries import load
from deployments.lora.store import no_adapter, too_many
from deployments.lora.types import Adapter

SQL = load(Path(__file__).parent / "adapters.sql")


class PostgresAdapters:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> Sequence[Adapter]:
        return [_adapter(row) for row in await self._database.fetch(SQL["list"])]

    async def put(self, adapter: Adapter, max_adapters: int) -> Adapter:
        facts = (adapter.sha256, adapter.rank, adapter.size_bytes)
        named = (adapter.model, adapter.name, clean(adapter.source))
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(SQL["lock"], adapter.model)
            rows = await connection.fetch(SQL["put"], *named, *facts, max_adapters)
        if not rows:
            raise too_many(adapter.model, max_adapters)
        return _adapter(rows[0])

    async def remove(self, model: str, name: str) -> None:
        only(await self._database.fetch(SQL["remove"], clean(model), clean(name)), no_adapter(model, name))


def _adapter(row: asyncpg.Record) -> Adapter:
    return Adapter(
        row["model"],
        row["name"],
        row["source"],
        row["sha256"],
        row["rank"],
        row["size_bytes"],
        int(row["loaded_at"].timestamp()),
    )
