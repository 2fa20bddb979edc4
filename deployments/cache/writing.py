"""Storing in the background: a request never waits for the cache to have written."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from deployments.cache.entry import CacheEntry, encode
from deployments.cache.tally import Tally
from deployments.infra.detached import detached

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 32 * 1024 * 1024
MAX_BYTES_PER_CALL = 1024 * 1024

Name = TypeVar("Name")


class BackgroundWriter(Generic[Name]):
    """A bounded queue of entries and the one task that empties it; past the bound, entries are dropped and counted."""

    def __init__(
        self,
        write: Callable[[list[tuple[Name, bytes, float]]], Awaitable[str]],
        timeout_s: float,
        drops: Tally,
        prefix: str = "",
        max_bytes_per_call: int = MAX_BYTES_PER_CALL,
    ) -> None:
        """`write` returns why it failed, or an empty string.

        All words in `drops` begin with `prefix`; without one, a failure that `write` tells is Redis's.
        A call carries entries of `max_bytes_per_call`, or the one that is larger.
        """
        self.stored = 0
        self.drops = drops
        self._write_entries = write
        self._timeout_s = timeout_s
        self._prefix = prefix
        self._max_bytes_per_call = max_bytes_per_call
        self._queue: deque[tuple[Name, CacheEntry, float, int]] = deque()
        self._queued_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def put(self, name: Name, entry: CacheEntry, ttl_s: float, name_bytes: int = 0) -> None:
        """Queue the entry, to be kept for `ttl_s` seconds, or drop it if too much waits already.

        `name_bytes` is the size of the name, where that matters.
        """
        size_bytes = entry.size_bytes + name_bytes
        if self._queued_bytes + size_bytes > MAX_QUEUED_BYTES:
            self.drops.count(f"{self._prefix}queue_full")
            return
        self._queue.append((name, entry, ttl_s, size_bytes))
        self._queued_bytes += size_bytes
        if self._task is None or self._task.done():
            self._task = detached(self._empty_queue(), "cache-writing")

    async def aclose(self) -> None:
        """Write what waits, as far as that goes within the deadline of one call."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=self._timeout_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _empty_queue(self) -> None:
        while self._queue:
            entries = self._take()
            failure = await self._write(entries)
            if failure:
                self.drops.count(failure, len(entries))
            else:
                self.stored += len(entries)

    def _take(self) -> list[tuple[Name, bytes, float]]:
        """Take from the queue what fits into one call, encoded."""
        entries: list[tuple[Name, bytes, float]] = []
        taken_bytes = 0
        while self._queue and taken_bytes < self._max_bytes_per_call:
            name, entry, ttl_s, size_bytes = self._queue.popleft()
            self._queued_bytes -= size_bytes
            taken_bytes += size_bytes
            entries.append((name, encode(entry), ttl_s))
        return entries

    async def _write(self, entries: list[tuple[Name, bytes, float]]) -> str:
        """Return why the entries were not written, or an empty string."""
        try:
            async with asyncio.timeout(self._timeout_s):
                failure = await self._write_entries(entries)
        except TimeoutError:
            return f"{self._prefix}timeout"
        except Exception as error:  # noqa: BLE001 - the boundary to the other replica: what cannot be stored is dropped
            log.warning("cache deployment did not store", extra={"error": type(error).__name__})
            return f"{self._prefix}deployment"
        return f"{self._prefix or 'redis_'}{failure}" if failure else ""
