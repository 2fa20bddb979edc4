"""Are the user's own stores there? Asked before anything else is started, without telling a password."""

import asyncio

import asyncpg
from redis.exceptions import RedisError

from deployments.infra.redis.client import connect as redis_client
from deployments.local.state import LauncherError

TIMEOUT_S = 10


def require_postgres(url: str) -> None:
    """Connect once; LauncherError says why that failed."""
    try:
        asyncio.run(_connect(url))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LauncherError(
            f"Postgres cannot be reached ({_reason(error)}): check DATABASE_URL and that the server runs"
        ) from None


def require_redis(url: str) -> None:
    """Ask for a PONG; LauncherError says why none came."""
    try:
        asyncio.run(_ping(url))
    except (OSError, ValueError, RedisError) as error:
        raise LauncherError(
            f"Redis cannot be reached ({_reason(error)}): check REDIS_URL and that the server runs"
        ) from None


async def _ping(url: str) -> None:
    client = redis_client(url, TIMEOUT_S)
    try:
        await client.ping()
    finally:
        await client.aclose()


async def _connect(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    await connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (str(error) or type(error).__name__).splitlines()[0]
