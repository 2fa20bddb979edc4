"""Stored completions in Postgres; see store.py for what each method promises."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg
import orjson

from deployments.history.store import no_cursor
from deployments.history.stored.store import (
    NewCompletion,
    StoredCompletion,
    StoredMessage,
    message_id,
    no_completion,
    position_of,
)
from deployments.history.types import PAGE_BYTES, Order, Page
from deployments.infra.postgres.database import Database
from deployments.infra.postgres.encoding import encode
from deployments.infra.postgres.queries import load

SQL = load(Path(__file__).parent / "stored.sql")


class PostgresCompletions:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, tenant: str, completion_id: str, items: Sequence[NewCompletion]) -> None:
        """Add completions, idempotent by their ids, in one round trip."""
        payloads = [item.payload for item in items]
        await self._database.fetch(
            SQL["append"],
            tenant,
            [item.id for item in items],
            [str(payload["completion"].get("model", "")) for payload in payloads],
            *([encode(payload[name]) for payload in payloads] for name in ("metadata", "completion", "messages")),
        )

    async def completions(
        self,
        tenant: str,
        after: str | None = None,
        limit: int = 20,
        order: Order = "asc",
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[StoredCompletion]:
        """Return a page in the order of storing."""
        query = SQL["asc"] if order == "asc" else SQL["desc"]
        wanted = encode(metadata) if metadata else None
        rows = await self._database.fetch(query, tenant, model, wanted, after, limit + 1, PAGE_BYTES)
        if not rows:
            raise no_cursor(after)
        found = [_completion(row) for row in rows if row["id"] is not None]
        return Page.of(found, limit, rows[0]["found"] if found else 0)

    async def completion(self, tenant: str, completion_id: str) -> StoredCompletion:
        """Return one."""
        return _only(await self._database.fetch(SQL["one"], tenant, completion_id), completion_id)

    async def update_metadata(self, tenant: str, completion_id: str, metadata: Mapping[str, str]) -> StoredCompletion:
        """Replace the metadata of one."""
        rows = await self._database.fetch(SQL["update_metadata"], tenant, completion_id, encode(metadata))
        return _only(rows, completion_id)

    async def delete(self, tenant: str, completion_id: str) -> None:
        """Delete one permanently."""
        if not await self._database.fetch(SQL["delete"], tenant, completion_id):
            raise no_completion(completion_id)

    async def messages(
        self, tenant: str, completion_id: str, after: str | None = None, limit: int = 20, order: Order = "asc"
    ) -> Page[StoredMessage]:
        """Return a page of the messages that it answered."""
        start = None if after is None else position_of(completion_id, after)
        sign = 1 if order == "asc" else -1
        rows = await self._database.fetch(SQL["messages"], tenant, completion_id, start, sign, limit + 1, PAGE_BYTES)
        if not rows:
            raise no_completion(completion_id)
        found = [row for row in rows if row["position"] is not None]
        return Page.of(
            [StoredMessage(message_id(completion_id, row["position"]), orjson.loads(row["message"])) for row in found],
            limit,
            found[0]["found"] if found else 0,
        )


def _only(rows: list[asyncpg.Record], completion_id: str) -> StoredCompletion:
    if not rows:
        raise no_completion(completion_id)
    return _completion(rows[0])


def _completion(row: asyncpg.Record) -> StoredCompletion:
    return StoredCompletion(row["id"], orjson.loads(row["completion"]), orjson.loads(row["metadata"]))
