"""API keys in Postgres; see store.py for what each method promises."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import asyncpg

from deployments.errors import Conflict
from deployments.history.types import Page, new_id
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import clean, encode
from deployments.infra.postgres.queries import load
from deployments.keys.store import name_taken, no_key
from deployments.keys.types import LIMIT_NAMES, Key, KeyChanges, KeyLimits, checked, hash_of, new_secret

SQL = load(Path(__file__).parent / "keys.sql")


class PostgresKeys:
    """The key store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, more: KeyChanges | None = None) -> tuple[Key, str]:
        secret = new_secret()
        changes = checked({**(more or {}), "name": name})
        try:
            rows = await self._database.fetch(
                SQL["create"], new_id("key"), hash_of(secret), secret[-4:], encode(changes), False
            )
        except Conflict:
            raise name_taken(changes.get("name", name)) from None
        return key_of_row(rows[0]), secret

    async def list(self) -> Sequence[Key]:
        return [key_of_row(row) for row in await self._database.fetch(SQL["list"])]

    async def page(self, after: str | None, limit: int) -> Page[Key]:
        rows = await self._database.fetch(SQL["page"], None if after is None else clean(after), limit + 1)
        return Page[Key].of([key_of_row(row) for row in rows], limit)

    async def retrieve(self, id_or_name: str) -> Key:
        return await self._one(SQL["retrieve"], id_or_name)

    async def update(self, id_or_name: str, changes: KeyChanges) -> Key:
        changes = checked(changes)
        try:
            return await self._one(SQL["update"], id_or_name, encode(changes), False)
        except Conflict:
            raise name_taken(changes.get("name", "")) from None

    async def revoke(self, id_or_name: str) -> Key:
        return await self._one(SQL["revoke"], id_or_name)

    async def names(self, ids: Collection[str]) -> Mapping[str, str]:
        return {row["id"]: row["name"] for row in await self._database.fetch(SQL["names"], list(ids))}

    async def find(self, hash_: bytes) -> Key | None:
        rows = await self._database.fetch(SQL["find"], hash_)
        return key_of_row(rows[0]) if rows else None

    async def _one(self, query: str, id_or_name: str, *arguments: str | bool) -> Key:
        rows = await self._database.fetch(query, clean(id_or_name), *arguments)
        return key_of_row(only(rows, no_key(id_or_name)))


def key_of_row(row: asyncpg.Record) -> Key:
    """Return the key that a row of the table is."""
    return Key(
        id=row["id"],
        name=row["name"],
        last4=row["last4"],
        tenant=row["tenant"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        expires_at=row["expires_at"],
        disabled_at=row["disabled_at"],
        is_admin=row["is_admin"],
        limits=KeyLimits(**{name: row[name] for name in LIMIT_NAMES}),
        weight=row["weight"],
        priority=row["priority"],
        is_user=row["is_user"],
    )
