"""Users and sessions in Postgres; see store.py for what each method promises."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg

from deployments.errors import Conflict
from deployments.history.types import Page, new_id
from deployments.infra.postgres.database import Database, only
from deployments.infra.postgres.encoding import clean, encode
from deployments.infra.postgres.queries import load
from deployments.keys.accounts import change_account, create_account
from deployments.keys.postgres import key_of_row
from deployments.keys.types import Key, KeyChanges
from deployments.users.store import no_session, no_user, username_taken
from deployments.users.types import IDLE, Session, User, UserChanges

SQL = load(Path(__file__).parent / "users.sql")


class PostgresUsers:
    """The store on the process's shared `Database`, which its owner opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, username: str, password_hash: str, account: KeyChanges, *, must_change: bool) -> User:
        """Return a new user."""
        user_id = new_id("user")
        try:
            async with self._database.connection() as connection, connection.transaction():
                made = await create_account(connection, user_id, {"name": username, **account})
                await connection.execute(SQL["create"], user_id, username, password_hash, must_change)
        except Conflict:
            raise username_taken(username) from None
        return User(key_of_row(made), username, must_change)

    async def page(self, after: str | None, limit: int) -> Page[User]:
        """Return a page in the order of creation."""
        rows = await self._database.fetch(SQL["page"], None if after is None else clean(after), limit + 1)
        return Page[User].of([_user(row) for row in rows], limit)

    async def retrieve(self, user_id: str) -> User:
        """Return a user."""
        return _user(only(await self._database.fetch(SQL["retrieve"], clean(user_id)), no_user(user_id)))

    async def update(self, user_id: str, changes: UserChanges, account: KeyChanges) -> User:
        """Change a user."""
        try:
            async with self._database.connection() as connection, connection.transaction():
                changed = await change_account(connection, user_id, account)
                row = await connection.fetchrow(SQL["update"], clean(user_id), encode(changes))
        except Conflict:
            raise username_taken(changes.get("username", "")) from None
        if changed is None or row is None:
            raise no_user(user_id)
        return User(key_of_row(changed), row["username"], row["must_change_password"])

    async def change_password(self, user_id: str, old_hash: str, new_hash: str) -> bool:
        """Replace the hash of a password."""
        return bool(await self._database.fetch(SQL["change_password"], clean(user_id), old_hash, new_hash))

    async def password_hash(self, username: str) -> tuple[User, str] | None:
        """Return who has this username, and the hash of the password."""
        rows = await self._database.fetch(SQL["password"], clean(username))
        return (_user(rows[0]), rows[0]["password_hash"]) if rows else None

    async def begin_session(self, session: Session, token_hash: bytes, max_sessions: int) -> None:
        """Keep a session."""
        times = (session.created_at, session.used_at, session.expires_at)
        values = (session.id, token_hash, session.key_id, clean(session.device), *times, max_sessions)
        await self._database.fetch(SQL["begin_session"], *values)

    async def sessions(self, key_id: str) -> Sequence[Session]:
        """Return the sessions that have not expired."""
        return [_session(row) for row in await self._database.fetch(SQL["sessions"], clean(key_id), IDLE)]

    async def session(self, token_hash: bytes) -> Session | None:
        """Return the session with this token."""
        rows = await self._database.fetch(SQL["session"], token_hash)
        return _session(rows[0]) if rows else None

    async def end_session(self, key_id: str, session_id: str) -> None:
        """End a session."""
        rows = await self._database.fetch(SQL["end_session"], clean(key_id), clean(session_id))
        only(rows, no_session(session_id))

    async def end_sessions(self, key_id: str, but: str | None = None) -> None:
        """End all sessions but one."""
        await self._database.fetch(SQL["end_sessions"], clean(key_id), but)

    async def find(self, token_hash: bytes) -> Key | None:
        """Return whom a session stands for."""
        rows = await self._database.fetch(SQL["find"], token_hash, IDLE)
        if not rows:
            return None
        key, until = key_of_row(rows[0]), rows[0]["until"]
        return replace(key, expires_at=until if key.expires_at is None else min(until, key.expires_at))

    async def sweep(self) -> None:
        """Delete sessions that have expired."""
        await self._database.fetch(SQL["sweep"], IDLE)


def _user(row: asyncpg.Record) -> User:
    return User(key_of_row(row), row["username"], row["must_change_password"])


def _session(row: asyncpg.Record) -> Session:
    return Session(
        id=row["id"],
        key_id=row["key_id"],
        device=row["device"],
        created_at=row["created_at"],
        used_at=row["used_at"],
        expires_at=row["expires_at"],
    )
