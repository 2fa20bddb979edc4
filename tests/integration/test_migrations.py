"""A database is brought up to date once, whoever and however many try."""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from deployments.config import HistorySettings
from deployments.history.postgres import PostgresHistory
from deployments.infra.postgres.database import Database
from deployments.infra.postgres.schema import migrate, migrations

ROOT = Path(__file__).parents[2]
NAMES = [migration.name for migration in migrations()]


async def test_four_tasks_at_once_apply_each_migration_once(database_url: str) -> None:
    connections = [await asyncpg.connect(database_url) for _ in range(4)]

    applied = await asyncio.gather(*(migrate(connection) for connection in connections))

    assert sorted(name for names in applied for name in names) == NAMES
    assert await connections[0].fetchval("SELECT array_agg(name ORDER BY number) FROM migrations") == NAMES
    for connection in connections:
        await connection.close()


async def test_four_processes_at_once_all_become_ready(database_url: str) -> None:
    program = """
import asyncio, sys
from pydantic import SecretStr
from deployments.config import HistorySettings
from deployments.infra.postgres.database import Database
from deployments.history.postgres import PostgresHistory
async def main():
    database = Database(SecretStr(sys.argv[1]), HistorySettings())
    await database.open()
    await PostgresHistory(database).create_conversation("ann", {})
    await database.close()
asyncio.run(main())
"""
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url, cwd=ROOT) for _ in range(4)
    ]

    assert [await process.wait() for process in processes] == [0, 0, 0, 0]

    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM conversations") == 4
    assert await connection.fetchval("SELECT count(*) FROM migrations") == len(NAMES)
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing_of_itself(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE good ()")
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE half (); SELECT 1 / 0")
    connection = await asyncpg.connect(database_url)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, tmp_path)

    assert await connection.fetchval("SELECT array_agg(name) FROM migrations") == ["0001_good"]
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE mended ()")
    assert await migrate(connection, tmp_path) == ["0002_bad"]
    await connection.close()


async def test_a_database_that_is_ahead_of_this_code_is_left_alone(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await migrate(connection)
    await connection.execute("INSERT INTO migrations (number, name) VALUES (9999, '9999_later')")
    await connection.close()

    database = Database(SecretStr(database_url), HistorySettings())
    await database.open()
    assert (await PostgresHistory(database).create_conversation("ann", {})).id
    await database.close()
