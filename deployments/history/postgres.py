"""Conversations in Postgres; see store.py for what each method promises."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from deployments.errors import PreconditionFailed
from deployments.history.search import MAX_MATCHES, Match
from deployments.history.store import no_conversation, no_cursor, no_item
from deployments.history.types import PAGE_BYTES, Context, Conversation, Cut, Item, NewItem, Order, Page, new_id
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import clean, encode
from deployments.infra.postgres.queries import load

SQL = load(Path(__file__).parent / "history.sql")


class PostgresHistory:
    """The conversation store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_conversation(
        self, tenant: str, metadata: dict[str, Any], items: Sequence[NewItem] = ()
    ) -> Conversation:
        """Create a conversation together with its first items, or neither."""
        values = (tenant, new_id("conv"), encode(metadata))
        if not items:
            return _conversation((await self._database.fetch(SQL["create_conversation"], *values))[0])
        columns = _columns(items)
        async with self._database.connection() as connection, connection.transaction():
            await connection.fetch(SQL["create_conversation"], *values)
            await connection.fetch(SQL["append"], tenant, values[1], *columns)
            return _conversation((await connection.fetch(SQL["conversation"], *values[:2]))[0])

    async def conversation(self, tenant: str, conversation_id: str) -> Conversation:
        """Return one conversation."""
        rows = await self._database.fetch(SQL["conversation"], tenant, conversation_id)
        return _conversation(only(rows, no_conversation(conversation_id)))

    async def conversations(self, tenant: str, after: str | None = None, limit: int = 20) -> Page[Conversation]:
        """Return a page of the tenant's conversations, the one with the newest item first."""
        if after is None:
            rows = await self._database.fetch(SQL["conversations"], tenant, limit + 1)
        else:
            rows = await self._database.fetch(SQL["conversations_after"], tenant, limit + 1, after)
            only(rows, no_cursor(after))
        return Page.of([_conversation(row) for row in rows if row["id"] is not None], limit)

    async def update_conversation(
        self,
        tenant: str,
        conversation_id: str,
        metadata: dict[str, Any] | None = None,
        title: str | None = None,
        version: str | None = None,
    ) -> Conversation:
        """Replace the metadata, the title, or both; None leaves them, an empty title removes it.

        Raises PreconditionFailed where `version` is given and is no longer that of the conversation.
        """
        known = None if version is None else await self.conversation(tenant, conversation_id)
        if known is not None and known.version != version:
            raise PreconditionFailed
        rows = await self._database.fetch(
            SQL["update_conversation"],
            tenant,
            conversation_id,
            None if metadata is None else encode(metadata),
            None if title is None else clean(title),
            None if known is None else encode(known.metadata),
            None if known is None else known.title,
        )
        if known is not None and not rows:
            await self.conversation(tenant, conversation_id)
            raise PreconditionFailed  # it has changed since it was read
        return _conversation(only(rows, no_conversation(conversation_id)))

    async def delete_conversation(self, tenant: str, conversation_id: str) -> None:
        """Delete a conversation and all its items permanently."""
        rows = await self._database.fetch(SQL["delete_conversation"], tenant, conversation_id)
        only(rows, no_conversation(conversation_id))

    async def search(self, tenant: str, typed: str, after: str | None = None, limit: int = 20) -> Page[Match]:
        """Return a page of the conversations with a message that holds every word of `typed`, the best match first."""
        rows = await self._database.fetch(SQL["search"], tenant, clean(typed), MAX_MATCHES, after, limit + 1)
        if not rows[0]["found_after"]:
            raise no_cursor(after)
        return Page.of([_match(row) for row in rows if row["id"] is not None], limit)

    async def append(self, tenant: str, conversation_id: str, items: Sequence[NewItem]) -> list[Item]:
        """Append items in one round trip, idempotent by their ids; return them as stored."""
        if not items:
            return []
        columns = _columns(items)
        rows = await self._database.fetch(SQL["append"], tenant, conversation_id, *columns)
        only(rows, no_conversation(conversation_id))
        stored = {row["id"]: item_of_row(row) for row in rows}
        return [stored[item_id] for item_id in columns[0]]

    async def items(
        self, tenant: str, conversation_id: str, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item]:
        """Return a page of a conversation's items over all branches, in the order they were appended."""
        rows = await self._database.fetch(SQL[f"items_{order}"], tenant, conversation_id, after, limit + 1, PAGE_BYTES)
        if not only(rows, no_conversation(conversation_id))["found_after"]:
            raise no_cursor(after)
        return page_of_rows(rows, limit)

    async def item(self, tenant: str, conversation_id: str, item_id: str) -> Item:
        """Return one item."""
        rows = await self._database.fetch(SQL["item"], tenant, conversation_id, item_id)
        return item_of_row(only(rows, no_item(item_id)))

    async def delete_item(self, tenant: str, conversation_id: str, item_id: str) -> None:
        """Erase an item's content; its children keep their way to the root."""
        rows = await self._database.fetch(SQL["delete_item"], tenant, conversation_id, item_id)
        only(rows, no_item(item_id))

    async def context(
        self, tenant: str, conversation_id: str, leaf: str | None, max_items: int, max_bytes: int
    ) -> Context:
        """Return the branch that ends in `leaf` (None: the newest item), cut at the old end."""
        rows = await self._database.fetch(SQL["context"], tenant, conversation_id, leaf, max_items, max_bytes)
        newest = only(rows[::-1], no_conversation(conversation_id))
        if newest["id"] is None and leaf is not None:
            raise no_item(leaf)
        items = tuple(item_of_row(row) for row in rows if row["id"] is not None and row["deleted_at"] is None)
        return Context(items, newest["id"], cut_of_row(newest))

    async def stored_bytes(self, tenant: str) -> int:
        """Return how many bytes a tenant stores."""
        return int((await self._database.fetch(SQL["stored_bytes"], tenant))[0]["bytes"])


def _columns(
    items: Sequence[NewItem],
) -> tuple[list[str], list[str | None], list[str], list[str | None], list[str], list[str]]:
    """Return ids, parents, types, roles, statuses and payloads, each item the child of the one before it."""
    ids = [item.id for item in items]
    before = [None, *ids[:-1]]
    parents = [item.parent_id if item.parent_id is not None else last for item, last in zip(items, before, strict=True)]
    return (
        ids,
        parents,
        [item.type for item in items],
        [item.role for item in items],
        [item.status for item in items],
        [encode(item.document()) for item in items],
    )


def _conversation(row: asyncpg.Record) -> Conversation:
    return Conversation(
        id=row["id"],
        tenant=row["tenant"],
        metadata=orjson.loads(row["metadata"]),
        title=row["title"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def item_of_row(row: asyncpg.Record) -> Item:
    """Return a row of the table `items` as the item that it is."""
    return Item(
        id=row["id"],
        conversation_id=row["conversation_id"],
        parent_id=row["parent_id"],
        type=row["type"],
        role=row["role"],
        status=row["status"],
        payload=orjson.loads(row["payload"]),
        created_at=row["created_at"],
    )


def page_of_rows(rows: list[asyncpg.Record], limit: int) -> Page[Item]:
    """Return a page of the rows of items that a query found, those left out for their size counted in `found`."""
    items = [item_of_row(row) for row in rows if row["id"] is not None]
    return Page.of(items, limit, rows[0]["found"] if items else 0)


def cut_of_row(row: asyncpg.Record) -> Cut | None:
    """Return where the reading of a context stopped, as each of its rows says."""
    return None if row["beyond_id"] is None else Cut(row["beyond_id"], row["beyond_bytes"])


def _match(row: asyncpg.Record) -> Match:
    return Match(_conversation(row), row["item_id"], row["role"], row["text"] or "", row["score"])
