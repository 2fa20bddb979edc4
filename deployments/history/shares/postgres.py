"""Shares in Postgres; see store.py for what each method promises."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import asyncpg
import orjson

from deployments.history.shares.store import (
    MAX_BYTES,
    MAX_ITEMS,
    MAX_SHARES,
    Share,
    Shared,
    no_share,
    no_shared,
    nothing_to_share,
    too_many_shares,
)
from deployments.history.store import no_conversation, no_item
from deployments.history.types import new_id
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.queries import load

SQL = load(Path(__file__).parent / "shares.sql")


class PostgresShares:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        tenant: str,
        conversation_id: str,
        token_hash: bytes,
        until: str | None = None,
        expires_at: datetime | None = None,
    ) -> Share:
        """Share a conversation up to `until` with anyone who has the token."""
        values = (tenant, conversation_id, new_id("share"), token_hash, until, expires_at, MAX_SHARES)
        row = only(await self._database.fetch(SQL["create"], *values), no_conversation(conversation_id))
        if row["until"] is None:
            raise nothing_to_share() if until is None else no_item(until)
        if row["id"] is None:
            raise too_many_shares()
        return _share(row)

    async def shares(self, tenant: str, conversation_id: str) -> Sequence[Share]:
        """Return a conversation's shares that have not expired, the newest first."""
        rows = await self._database.fetch(SQL["list"], tenant, conversation_id)
        only(rows, no_conversation(conversation_id))
        return [_share(row) for row in rows if row["id"] is not None]

    async def revoke(self, tenant: str, conversation_id: str, share_id: str) -> None:
        """End a share permanently."""
        only(await self._database.fetch(SQL["revoke"], tenant, conversation_id, share_id), no_share(share_id))

    async def read(self, token_hash: bytes) -> Shared:
        """Return what a token shows."""
        rows = await self._database.fetch(SQL["read"], token_hash, MAX_ITEMS, MAX_BYTES)
        first = only(rows, no_shared())
        messages = [orjson.loads(row["payload"]) for row in rows if row["payload"] is not None]
        return Shared(first["title"], first["created_at"], messages, bool(first["is_cut"]))


def _share(row: asyncpg.Record) -> Share:
    return Share(
        id=row["id"],
        conversation_id=row["conversation_id"],
        until=row["until"],
        title=row["title"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
