"""Databases that one test has for itself, on the Postgres that the whole run shares."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import asyncpg

DROPPED_S = 30.0
AGAIN_S = 0.2


@asynccontextmanager
async def own_database(postgres_url: str) -> AsyncGenerator[str]:
    """Give the address of a new, empty database, which is gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(postgres_url, f"CREATE DATABASE {name}")
    try:
        yield postgres_url.replace("/chatllm?", f"/{name}?")
    finally:
        await _drop(postgres_url, name)


async def execute(postgres_url: str, statements: str) -> None:
    """Run `statements` on a connection of their own."""
    connection = await asyncpg.connect(postgres_url, timeout=10)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def _drop(postgres_url: str, name: str) -> None:
    async with asyncio.timeout(DROPPED_S):
        while True:
            # An autovacuum worker in the database belongs to the superuser, and only it may end one.
            with suppress(asyncpg.InsufficientPrivilegeError):
                return await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")
            await asyncio.sleep(AGAIN_S)
