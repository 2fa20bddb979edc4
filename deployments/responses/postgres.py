"""Responses in Postgres; see store.py for what each method promises."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from deployments.history.postgres import cut_of_row, item_of_row, page_of_rows
from deployments.history.store import no_conversation, no_cursor
from deployments.history.types import PAGE_BYTES, Context, Item, NewItem, Order, Page
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import encode
from deployments.infra.postgres.queries import load
from deployments.responses.store import LOST, no_response, too_many_bytes
from deployments.responses.types import Batch, Claim, Continuation, Ending, Following, NewResponse, StoredResponse

SQL = load(Path(__file__).parent / "responses.sql")


class PostgresResponses:
    """The store of responses on the process's shared `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, new: NewResponse) -> None:
        """Keep a response that has begun, with its input."""
        (row,) = await self._database.fetch(
            SQL["begin"],
            new.tenant,
            new.conversation_id,
            new.has_own_conversation,
            new.key_id,
            new.id,
            new.previous_id,
            new.status,
            encode(new.request),
            new.created_at,
            new.runner,
            new.is_shown,
            new.leaf_id,
            *_columns(new.input),
        )
        if not row["is_there"]:
            raise no_conversation(new.conversation_id)

    async def end(self, tenant: str, response_id: str, runner: str | None, ending: Ending) -> bool:
        """Keep how a response ended, with its output."""
        if ending.answered_by:
            await self._database.fetch(SQL["answered_by"], tenant, response_id, runner, ending.answered_by)
        (row,) = await self._database.fetch(
            SQL["end"],
            tenant,
            response_id,
            runner,
            ending.status,
            None if ending.usage is None else encode(ending.usage),
            None if ending.error is None else encode(ending.error),
            ending.incomplete_reason,
            ending.completed_at,
            ending.last_number,
            ending.frames,
            *_columns(ending.output),
        )
        return bool(row["is_done"])

    async def continuation(self, tenant: str, response_id: str, max_items: int, max_bytes: int) -> Continuation:
        """Return the branch that ends in a response's last item."""
        rows = await self._database.fetch(SQL["continuation"], tenant, response_id, max_items, max_bytes)
        found = only(rows, no_response(response_id))
        items = tuple(item_of_row(row) for row in rows if row["id"] is not None)
        context = Context(items, found["leaf_id"], cut_of_row(found))
        return Continuation(found["of_conversation"], found["is_hidden"], found["of_status"], context)

    async def response(self, tenant: str, response_id: str) -> StoredResponse:
        """Return one response with its output."""
        rows = await self._database.fetch(SQL["response"], tenant, response_id)
        return _response(only(rows, no_response(response_id)))

    async def input_items(
        self, tenant: str, response_id: str, after: str | None, limit: int, order: Order
    ) -> Page[Item]:
        """Return a page of the items that the response's own request brought."""
        query = SQL[f"input_items_{order}"]
        rows = await self._database.fetch(query, tenant, response_id, after, limit + 1, PAGE_BYTES)
        if not only(rows, no_response(response_id))["found_after"]:
            raise no_cursor(after)
        return page_of_rows(rows, limit)

    async def items(self, tenant: str, ids: Collection[str], max_bytes: int) -> dict[str, Item]:
        """Return those of the tenant's items, of any conversation, that have these ids."""
        rows = await self._database.fetch(SQL["items_by_id"], tenant, list(ids), max_bytes)
        if rows[0]["total_bytes"] > max_bytes:
            raise too_many_bytes(max_bytes)
        return {row["id"]: item_of_row(row) for row in rows if row["id"] is not None}

    async def delete(self, tenant: str, response_id: str) -> None:
        """Delete a response."""
        (row,) = await self._database.fetch(SQL["delete"], tenant, response_id)
        if not row["is_done"]:
            raise no_response(response_id)

    async def cancel(self, tenant: str, response_id: str) -> StoredResponse:
        """Mark a background response as cancelled unless it has ended, and return it."""
        return await self._updated("cancel", tenant, response_id)

    async def running(self, tenant: str, conversation_id: str, limit: int) -> list[StoredResponse]:
        """Return the background responses of a conversation that have not ended."""
        rows = await self._database.fetch(SQL["running"], tenant, conversation_id, limit, PAGE_BYTES)
        only(rows, no_conversation(conversation_id))
        return [_response(row) for row in rows if row["id"] is not None]

    async def add_events(self, runner: str, batches: Mapping[str, Batch | None]) -> set[str]:
        """Give a sign of life of each response, and keep what has been generated since the last one."""
        numbers = [batch.last_number if batch else None for batch in batches.values()]
        frames = [batch.frames if batch else None for batch in batches.values()]
        rows = await self._database.fetch(SQL["add_events"], runner, list(batches), numbers, frames)
        return {row["id"] for row in rows}

    async def show(self, tenant: str, response_id: str) -> StoredResponse:
        """Return one response, and note that its events are seen from now on."""
        return await self._updated("show", tenant, response_id)

    async def events(self, tenant: str, response_id: str, after: int, limit: int) -> Following:
        """Return the batches that hold events past the sequence number `after`."""
        rows = await self._database.fetch(SQL["events"], tenant, response_id, after, limit)
        is_over = bool(only(rows, no_response(response_id))["is_over"]) and len(rows) < limit
        return Following(tuple(Batch(r["last_number"], r["frames"]) for r in rows if r["frames"] is not None), is_over)

    async def claim(self, runner: str, stale_s: float, limit: int) -> list[Claim]:
        """Take over background responses without a sign of life for `stale_s`."""
        rows = await self._database.fetch(SQL["claim"], runner, stale_s, limit)
        return [Claim(_response(row), row["was_shown"], row["last_number"], row["attempts"]) for row in rows]

    async def release(self, runner: str) -> None:
        """Give up what a replica runs."""
        await self._database.fetch(SQL["release"], runner)

    async def sweep(self, events_ttl_s: float, waiting_s: float) -> None:
        """Drop old events, and end what was abandoned."""
        await self._database.fetch(SQL["drop_events"], events_ttl_s)
        await self._database.fetch(SQL["end_abandoned"], waiting_s, encode(LOST))

    async def _updated(self, query: str, tenant: str, response_id: str) -> StoredResponse:
        """Update, then read, in two statements: the second must see what the first has waited for."""
        async with self._database.connection() as connection:
            await connection.execute(SQL[query], tenant, response_id)
            rows = await connection.fetch(SQL["response"], tenant, response_id)
        return _response(only(rows, no_response(response_id)))


def _columns(items: Sequence[NewItem]) -> tuple[list[Any], ...]:
    """Return ids, parents, types, roles, statuses and payloads; each item must name its parent."""
    return (
        [item.id for item in items],
        [item.parent_id for item in items],
        [item.type for item in items],
        [item.role for item in items],
        [item.status for item in items],
        [encode(item.document()) for item in items],
    )


def _response(row: asyncpg.Record) -> StoredResponse:
    return StoredResponse(
        id=row["id"],
        tenant=row["tenant"],
        key_id=row["key_id"],
        conversation_id=row["conversation_id"],
        is_hidden=row["is_hidden"],
        previous_id=row["previous_id"],
        leaf_id=row["leaf_id"],
        status=row["status"],
        request=orjson.loads(row["request"]),
        usage=orjson.loads(row["usage"]) if row["usage"] else None,
        error=orjson.loads(row["error"]) if row["error"] else None,
        incomplete_reason=row["incomplete_reason"],
        created_at=row["created_at"],
        completed_at=row["completed_at"],
        output=tuple(orjson.loads(row["output"])),
    )
