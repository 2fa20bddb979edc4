"""API keys in Postgres; see store.py for what each method promises."""

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from deployments.errors import Conflict
from deployments.history.database import Database
from deployments.history.encoding import clean
from deployments.history.queries import load
from deployments.history.types import new_id
from deployments.keys.store import name_taken, no_key
from deployments.keys.types import Key, hash_of, new_secret

SQL = load(Path(__file__).parent / "keys.sql")


class PostgresKeys:
    """The key store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str) -> tuple[Key, str]:
        """Return a new key and its secret, which cannot be read again; Conflict if a valid key has the name."""
        secret = new_secret()
        try:
            rows = await self._database.fetch(SQL["create"], new_id("key"), clean(name), hash_of(secret), secret[-4:])
        except Conflict:
            raise name_taken(name) from None
        return _key(rows[0]), secret

    async def list(self) -> Sequence[Key]:
        """Return all keys, revoked ones too, oldest first."""
        return [_key(row) for row in await self._database.fetch(SQL["list"])]

    async def revoke(self, id_or_name: str) -> Key:
        """Revoke a key by its id (again, if need be) or a valid one by its name; NotFound if there is none."""
        rows = await self._database.fetch(SQL["revoke"], clean(id_or_name))
        if not rows:
            raise no_key(id_or_name)
        return _key(rows[0])

    async def find(self, hash_: bytes) -> Key | None:
        """Return the key with this hash, revoked or not."""
        rows = await self._database.fetch(SQL["find"], hash_)
        return _key(rows[0]) if rows else None


def _key(row: asyncpg.Record) -> Key:
    return Key(
        id=row["id"],
        name=row["name"],
        last4=row["last4"],
        tenant=row["tenant"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        expires_at=row["expires_at"],
    )
