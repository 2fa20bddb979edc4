"""Users' accounts among the keys: rows that no secret opens, created and changed together with the user."""

import secrets

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from deployments.infra.postgres.encoding import clean, encode
from deployments.keys.postgres import SQL
from deployments.keys.types import KeyChanges, checked


async def create_account(connection: PoolConnectionProxy, account_id: str, changes: KeyChanges) -> asyncpg.Record:
    """Return the row of a new account, a tenant of its own; raises BadRequest for what it cannot be."""
    values = (account_id, secrets.token_bytes(32), "", encode(checked(changes)), True)
    row = await connection.fetchrow(SQL["create"], *values)
    assert row is not None
    return row


async def change_account(
    connection: PoolConnectionProxy, account_id: str, changes: KeyChanges
) -> asyncpg.Record | None:
    """Return the row of an account with `changes`; None if there is none. Raises BadRequest as `create_account`."""
    return await connection.fetchrow(SQL["update"], clean(account_id), encode(checked(changes)), True)
