"""Whether Postgres and Redis answer, as one ingress replica sees them: asked every few seconds, load or not."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from deployments.errors import HistoryUnavailable

log = logging.getLogger(__name__)

WATCH_S = 5.0


class Publisher(Protocol):
    """What leaves figures in Redis every few seconds."""

    @property
    def is_alone(self) -> bool:
        """Whether Redis did not answer the last time."""
        ...


class StoreLevels(Protocol):
    """Where it is told."""

    def postgres_answered(self, took_s: float | None) -> None:
        """Take the seconds of a round trip; None for one that failed."""
        ...

    def redis_answers(self, is_up: bool) -> None:
        """Take whether Redis answers."""
        ...


@asynccontextmanager
async def watched(
    ping: Callable[[], Awaitable[object]], publisher: Publisher, levels: StoreLevels
) -> AsyncGenerator[None]:
    """Tell every 5 s whether the stores answer, until the block is left.

    `ping` makes a round trip to Postgres, with a time-out of its own, or raises HistoryUnavailable. Redis is not asked
    once more: `publisher` knows.
    """
    task = asyncio.create_task(_watch(ping, publisher, levels), name="stores-watch")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _watch(ping: Callable[[], Awaitable[object]], publisher: Publisher, levels: StoreLevels) -> None:
    while True:
        began = time.perf_counter()
        try:
            await ping()
        except HistoryUnavailable:
            levels.postgres_answered(None)
        except Exception:
            log.exception("Postgres cannot be watched")
        else:
            levels.postgres_answered(time.perf_counter() - began)
        levels.redis_answers(not publisher.is_alone)
        await asyncio.sleep(WATCH_S)
