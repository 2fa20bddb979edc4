"""Brings a database to the schema that this version of the code needs.

Migrations are the numbered files in `migrations/`, each run once, in order and
in a transaction of its own. Any number of replicas may start at the same time:
an advisory lock lets one of them work while the others wait and then find it done.
A migration must leave the code of the version before it working.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import asyncpg

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "migrations"

# Any number will do, if it is always the same: "chat" in ASCII.
_LOCK = 0x63686174

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    path: Path


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations in order; ValueError where a number stands twice.

    A number may be missing: what is developed side by side may arrive out of order, and is then applied late.
    """
    found = [
        Migration(int(path.stem[:4]), path.stem, path) for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]
    if len({migration.number for migration in found}) != len(found):
        raise ValueError(f"a migration's number occurs twice: {[migration.name for migration in found]}")
    return found


async def migrate(connection: asyncpg.Connection, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing and return the names of what this call applied; asyncpg's errors go through."""
    applied: list[str] = []
    for migration in migrations(folder):
        if await _apply(connection, migration):
            applied.append(migration.name)
            log.info("a migration was applied", extra={"migration": migration.name})
    return applied


async def _apply(connection: asyncpg.Connection, migration: Migration) -> bool:
    async with connection.transaction():
        # Held until the transaction ends, however it ends.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_CREATE_TABLE)
        done = await connection.fetchval("SELECT number FROM migrations WHERE number = $1", migration.number)
        if done is not None:
            return False
        await connection.execute(migration.path.read_text(encoding="utf-8"))
        await connection.execute(
            "INSERT INTO migrations (number, name) VALUES ($1, $2)", migration.number, migration.name
        )
        return True
