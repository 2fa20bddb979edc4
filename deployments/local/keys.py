"""API keys from the command line, and the one that the first start makes."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from deployments.config import HistorySettings
from deployments.errors import ChatLLMError, Conflict
from deployments.infra.postgres.database import Database
from deployments.keys.postgres import PostgresKeys
from deployments.keys.types import ANY_NUMBER, hash_of
from deployments.local.servers.external import require_postgres
from deployments.local.state import LauncherError

FILE = "api.key"
NAME = "local"

T = TypeVar("T")


def run(url: str, work: Callable[[PostgresKeys], Awaitable[T]]) -> T:
    """Do `work` on the key store at `url`; LauncherError if Postgres cannot be reached or refuses."""
    return run_on_database(url, lambda database: work(PostgresKeys(database)))


def run_on_database(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do `work` on the database at `url`; LauncherError as `run`."""
    require_postgres(url)
    return asyncio.run(_run(url, work))


def ensure_first(url: str, state: Path) -> str:
    """Return the key in the state folder; make one that Postgres knows if there is none, or a dead one."""
    path = state / FILE

    async def work(keys: PostgresKeys) -> str:
        secret = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        known = await keys.find(hash_of(secret)) if secret else None
        if known is None or not known.is_valid():
            secret = await _create(keys)
            write_secret(path, secret)
        return secret

    return run(url, work)


def write_secret(path: Path, secret: str) -> None:
    """Write a secret that only its owner can read, whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
    new.replace(path)


async def _create(keys: PostgresKeys) -> str:
    """Make a key without limits: it is that of the machine's own user, and of the chat page."""
    try:
        return (await keys.create(NAME, {"concurrent_requests": ANY_NUMBER}))[1]
    except Conflict:  # the file was lost, the key was not: someone may still use it
        name = f"{NAME} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        return (await keys.create(name, {"concurrent_requests": ANY_NUMBER}))[1]


async def _run(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    try:
        async with _database(url) as database:
            return await work(database)
    except ChatLLMError as error:
        raise LauncherError(str(error)) from None


@asynccontextmanager
async def _database(url: str) -> AsyncGenerator[Database]:
    database = Database(SecretStr(url), HistorySettings())
    await database.open()
    try:
        yield database
    finally:
        await database.close()
